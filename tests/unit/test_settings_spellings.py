"""Settings as people write them: what has one plain meaning is taken; anything else is named for what it is."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from kit.settings import SENTINEL, refused
from receiver.config import load_settings
from receiver.config.value_kinds import AllowedHosts
from receiver.core.types import ConfirmMode, MessageRate, NoticeEvent, QuietHours, Retention

KEY = "sk-0123456789abcdef"
LONG, OTHER = "a" * 16, "b" * 16


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a receiver.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *[("PROVIDER_KEY", it, KEY) for it in (f'"{KEY}"', f"'{KEY}'", f"“{KEY}”", f" `{KEY}` ", f"Bearer {KEY}")],
        ("PROVIDER_KEY", f'"{KEY}', f'"{KEY}'),  # not a pair: it may belong to the key
        ("PROVIDER_KEY", '""', None),
        *[
            ("SECRET_KEYS", it, (LONG, OTHER))
            for it in (f"{LONG}, {OTHER}", f'"{LONG}" "{OTHER}"', f"'{LONG} {OTHER}'")
        ],
        *[
            ("PUBLIC_URL", it, "https://xn--bcher-kva.example")
            for it in ("https://bücher.example", "https://BÜCHER.example/")
        ],
        ("PUBLIC_URL", "https://bücher.example:8443/x", "https://xn--bcher-kva.example:8443/x"),
        ("PUBLIC_URL", "'https://host'", "https://host"),
        ("HOST", "[::1]", "::1"),
        ("PORT", '"8001"', 8001),
        *[("SWEEP_FIRST", it, 120) for it in ("120", "120s", "2m", "2 min", "2 minutes")],
        *[("NOTIFY_RETRY", it, (5, 120, 3600)) for it in ("5 120 3600", "5, 120, 3600", "5s 2m 1h", "5;120;3600")],
        ("CONFIRM", "Always", ConfirmMode.ALWAYS),
        *[
            ("RETENTION", it, Retention(callbacks=7, polls=0))
            for it in ("callbacks=7d polls=0", "callbacks = 7 days, polls = 0", "Callbacks: 7d polls: 0")
        ],
        *[
            ("TRUSTED_PROXIES", it, (ip_network("10.0.0.0/8"), ip_network("::1/128")))
            for it in ("10.0.0.0/8 ::1", "10.0.0.0/8, ::1", "'10.0.0.0/8' '::1'")
        ],
        (
            "FETCH_ALLOW",
            "bücher.example, 10.0.0.1",
            AllowedHosts(("xn--bcher-kva.example",), (ip_network("10.0.0.1"),)),
        ),
    ],
)
def test_a_value_with_one_plain_meaning_is_taken(name: str, text: str, value: Any) -> None:
    given = {"RECEIVER_PROVIDER_KEY": KEY} | {f"RECEIVER_{name}": text}
    assert getattr(load_settings(given), name.lower()) == value
    if name != "PROVIDER_KEY":
        toml = f"provider_key = '{KEY}'\n{name.lower()} = '''{text}'''\n"
        Path("given.toml").write_text(toml)
        assert getattr(load_settings({}, Path("given.toml")), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("PROVIDER_KEY", f"{SENTINEL}\u200b", "and character 32 is not ASCII (U+200B); copy it again, or type it"),
        ("PROVIDER_KEY", f"{SENTINEL} x", "and there is a blank or a line break in it"),
        ("API_TOKENS", f"{SENTINEL}\u00a0{SENTINEL}", "is not ASCII (U+00A0)"),
        ("PUBLIC_URL", "receiver.example.org", "and this has no scheme; put https:// before it"),
        ("PUBLIC_URL", f"https://u:{SENTINEL}@host", "and this has a user or a password; leave that out"),
        ("PUBLIC_URL", "https://host/?a", "and this has a query (?); leave that out"),
        ("PUBLIC_URL", "https://host/bücher", "an http:// or https:// URL"),
        ("PUBLIC_URL", "https://-bücher-.example", "an http:// or https:// URL"),
        ("HOST", "0.0.0.0:80", "and a port is in it; put that into PORT"),
        ("HOST", "[::1]:80", "and a port is in it; put that into PORT"),
        ("HOST", "https://host", "and this is a URL; PUBLIC_URL is the place for one"),
        ("MAX_BODY", "256 KB", "a whole number of bytes from 1024 to 4194304, without a unit"),
        ("PICTURE_WAIT", "15 x", "from 0 to 300, without a unit"),
        ("DATABASE_URL", "/srv/receiver.db", "and this is no URL; put sqlite:/// before the path"),
        ("DATABASE_URL", "sqlite://receiver.db", "and this has two slashes; write three before a relative path, four"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "and one of these has an address within its network; write 10.0.0.0/8 for"),
    ],
)
def test_any_other_is_told_what_is_wrong_with_it(name: str, text: str, says: str) -> None:
    told = refused({f"RECEIVER_{name}": text})
    assert told.startswith(f"RECEIVER_{name} in the environment: expected ")
    assert says in told


@pytest.mark.parametrize("name", ["DATABASE_URL", "STATE_DIR"])
def test_a_tilde_is_not_made_a_folder_of_that_name(name: str) -> None:
    text = {"DATABASE_URL": "sqlite:///~/receiver.db", "STATE_DIR": "~/receiver"}[name]
    assert "~ is not read as a home directory here; write the whole path" in refused({f"RECEIVER_{name}": text})


# -- files --


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_file(place: Path) -> None:
    for name, text in (("given.toml", "port = 9\r\nconfirm = 'mismatch'\r\n"), ("key", f"{KEY}\r\n")):
        (place / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    settings = load_settings({"RECEIVER_PROVIDER_KEY_FILE": "key"}, place / "given.toml")
    assert (settings.port, settings.provider_key) == (9, KEY)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_as_such(place: Path, codec: str) -> None:
    (place / "own.toml").write_bytes(f'api_token = "{SENTINEL}"\n'.encode(codec))
    told = refused({"RECEIVER_CONFIG": "own.toml"})
    assert told == "own.toml is not a settings file: it is UTF-16 text; save it as UTF-8"
    told = refused({"RECEIVER_PROVIDER_KEY_FILE": "own.toml"})
    assert told == "RECEIVER_PROVIDER_KEY_FILE: the file is UTF-16 text; save it as UTF-8"


def test_another_encoding_is_told_with_its_line(place: Path) -> None:
    (place / "own.toml").write_bytes("port = 9\n# für\n".encode("latin-1"))
    told = refused({"RECEIVER_CONFIG": "own.toml"})
    assert told == "own.toml is not a settings file: it is not UTF-8 text, in line 2; save it as UTF-8"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (f"port = 1\nprovider_key = “{SENTINEL}”", "(at line 2, column 16); the quotes in this line are typographic"),
        (f"provider_key = {SENTINEL}", '(at line 1, column 16); a text needs quotes: name = "value"'),
        ("[targets.a]\nurl = 'json://h'\nport = 9", "settings of the service belong above [targets…]"),
    ],
)
def test_a_slip_in_toml_is_told_with_its_remedy(toml: str, says: str) -> None:
    assert says in refused({}, toml)


# -- targets --


@pytest.mark.parametrize(
    "text",
    [
        "json://a json://b",
        "json://a,json://b",
        "json://a, json://b,",
        "json://a ; json://b;",
        "'json://a' 'json://b'",
        '"json://a","json://b"',
        "<json://a>\n<json://b>",
        '"json://a, json://b"',
    ],
)
def test_urls_may_have_blanks_commas_and_quotes_between_them(text: str) -> None:
    assert [it.url for it in load_settings({"RECEIVER_NOTIFY_URLS": text}).targets] == ["json://a", "json://b"]


@pytest.mark.parametrize("url", ["mailto://u:p@h?to=a@h,b@h", "slack://T/o/k/#a,#b"])
def test_a_comma_within_a_url_stays(url: str) -> None:
    assert [it.url for it in load_settings({"RECEIVER_NOTIFY_URLS": url}).targets] == [url]


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("mailtos://u:p@bücher.example?to=ü@b.de", "mailtos://u:p@xn--bcher-kva.example?to=ü@b.de"),
        ("json://bücher.example:81/ü", "json://xn--bcher-kva.example:81/ü"),
        ("https://mattermost.bücher.example/hooks/a", "https://mattermost.xn--bcher-kva.example/hooks/a"),
        ("json://host/ü", "json://host/ü"),
        ("join://größe/a", "join://größe/a"),  # a token
        ("json://-ü-.example", "json://-ü-.example"),
    ],
)
def test_a_targets_host_is_taken_as_dns_has_it(url: str, taken: str) -> None:
    assert [it.url for it in load_settings({"RECEIVER_NOTIFY_URLS": url}).targets] == [taken]


@pytest.mark.parametrize("text", ["json://a,json://b", "json://a json://b"])
def test_two_urls_of_one_target_are_refused(text: str) -> None:
    """Apprise would take both as one: if one fails, both get the message again."""
    told = refused({}, f'[targets.team]\nurl = "{text}"\n')
    assert told.startswith(
        "[targets.team] in given.toml: it holds several URLs; give each its own target, so that each"
    )


BERLIN = "Europe/Berlin"
NIGHT = QuietHours(22 * 60, 7 * 60, BERLIN)


@pytest.mark.parametrize(
    ("text", "quiet"),
    [
        *[
            (f"{hours} {BERLIN}", NIGHT)
            for hours in (
                *("22:00-07:00", "22:00-7:00", "22:00 - 07:00", "22:00–07:00", "22:00 — 07:00", "22:00−07:00"),
                *(
                    "22-7",
                    "22.00-07.00",
                    "2200-0700",
                    "22h-7h",
                    "22h00-7h00",
                    "10pm-7am",
                    "10 PM to 7 AM",
                    "22:00 to 7:00",
                ),
            )
        ],
        *[(f"22:00-07:00 {zone}", NIGHT) for zone in ("europe/berlin", "EUROPE/BERLIN", "(Europe/Berlin)")],
        ("Europe/Berlin 22:00-07:00", NIGHT),
        (" 22:00-07:00,Europe/Berlin ", NIGHT),
        ("22:00-24:00 utc", QuietHours(22 * 60, 0, "UTC")),
        ("0:00-9:30 UTC", QuietHours(0, 9 * 60 + 30, "UTC")),
        ("12am-12pm UTC", QuietHours(0, 12 * 60, "UTC")),
        ("22-7 America/New York", QuietHours(22 * 60, 7 * 60, "America/New_York")),
        ("22-7 america/argentina/buenos_aires", QuietHours(22 * 60, 7 * 60, "America/Argentina/Buenos_Aires")),
        ("22:00-07:00 Etc/GMT-2", QuietHours(22 * 60, 7 * 60, "Etc/GMT-2")),
    ],
)
def test_quiet_hours_are_read_in_many_spellings(text: str, quiet: QuietHours) -> None:
    Path("receiver.toml").write_text(f'[targets.team]\nurl = "json://h"\nquiet = "{text}"\n')
    assert load_settings({}).targets[0].quiet == quiet


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        *[(f'digest = "{it}"', "digest_ms", 300_000) for it in ("5m", "5 m", "5 min", "5 Minutes", "300 s")],
        *[
            (f'rate = "{it}"', "rate", MessageRate(10, 60_000))
            for it in ("10/m", "10 / min", "10/minute", "10 per minute")
        ],
        ('on = "failed"', "on", {NoticeEvent.FAILED}),
        ('on = "Failed, lost"', "on", {NoticeEvent.FAILED, NoticeEvent.LOST}),
        ('on = ["Failed"]', "on", {NoticeEvent.FAILED}),
        ('labels = "hero *"', "labels", ("hero *",)),
        ("url = \" 'json://h' \"", "url", "json://h"),
    ],
)
def test_a_targets_wishes_are_read_as_people_write_them(line: str, field: str, value: object) -> None:
    url = "" if line.startswith("url") else 'url = "json://h"\n'
    Path("receiver.toml").write_text(f"[targets.team]\n{url}{line}\n")
    assert getattr(load_settings({}).targets[0], field) == value
