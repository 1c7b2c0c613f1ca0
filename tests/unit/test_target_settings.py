"""receiver.config.targets: who is told, what, when; and what is refused, in which words."""

import hashlib
import importlib
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
from apprise.manager_plugins import NotificationManager

from kit.settings import SENTINEL, refused
from receiver.apprise_schemes import MODULES
from receiver.config import load_settings, target_urls
from receiver.config.text import describe_settings
from receiver.core.errors import SettingsError
from receiver.core.types import MessageRate, MessageStyle, NoticeEvent, QuietHours, Target


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a receiver.toml, so that no test reads a stranger's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one(*lines: str) -> Target:
    """The target of a table with these lines."""
    Path("receiver.toml").write_text("\n".join(['[targets.team]\nurl = "json://h"', *lines]))
    (target,) = load_settings({}).targets
    return target


def test_a_simple_target_is_named_by_scheme_and_digest_and_hears_everything() -> None:
    url = "Slack://a/b/c"
    (target,) = load_settings({"RECEIVER_NOTIFY_URLS": f" {url}\n{url} "}).targets
    assert target.name == f"slack-{hashlib.sha256(url.encode()).hexdigest()[:6]}"
    assert target.url == url
    assert target.on == frozenset(NoticeEvent)


def test_a_table_says_what_its_target_hears() -> None:
    Path("receiver.toml").write_text(
        '[targets.team]\nurl = "json://h"\non = ["lost"]\nmodels = ["m"]\nlabels = ["a b"]\n'
        '[targets.all]\nurl = "json://i"\n'
    )
    team, everything = load_settings({}).targets
    assert (team.name, team.models, team.labels) == ("team", ("m",), ("a b",))
    assert team.on == {NoticeEvent.LOST}
    assert everything.on == set(NoticeEvent)


def test_a_url_in_both_places_is_one_target_as_its_table_says() -> None:
    Path("receiver.toml").write_text('[targets.team]\nurl = "json://h"\non = ["lost"]\n')
    (target,) = load_settings({"RECEIVER_NOTIFY_URLS": "json://h"}).targets
    assert target.name == "team"


def test_two_tables_with_one_url_are_refused() -> None:
    """Either of them could be meant; pings of the other would be lost without a word."""
    toml = f'[targets.a]\nurl = "json://{SENTINEL}"\n[targets.b]\nurl = "json://{SENTINEL}"\n'
    assert "targets a and b have the same URL" in refused({}, toml)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (SENTINEL, "this is not an Apprise URL"),
        (f"://{SENTINEL}", "this is not an Apprise URL"),
        (f"file:///{SENTINEL}", "file:// would write"),
        (f"FILE://{SENTINEL}", "file:// would write"),
        (f"json://{SENTINEL}/?redirect=yes", "redirect= is not allowed"),
        (f"json://{SENTINEL}/?a=1;%20Re%64irect=yes", "redirect= is not allowed"),
        (f"json://{SENTINEL}/?x#y?redirect", "redirect= is not allowed"),
        (f"ntfy://{SENTINEL}/t?attach=/etc/passwd", "attach= is not allowed"),
        (f"slack://{SENTINEL}/?%74emplate=/etc/passwd", "template= is not allowed in the URL"),
        (f"https://discord.com/{SENTINEL}?template=x", "template= is not allowed in the URL"),
        (f"slak://{SENTINEL}/", "no service has this URL's scheme (did you mean slack://?)"),
        (f"zzzz://{SENTINEL}/", "no service has this URL's scheme; https://appriseit.com/services/ lists all services"),
    ],
)
def test_an_unsafe_url_is_refused_by_name_and_never_shown(url: str, says: str) -> None:
    simple = refused({"RECEIVER_NOTIFY_URLS": f"json://ok {url}"})
    assert says in simple
    assert "URL number 2" in simple or hashlib.sha256(url.encode()).hexdigest()[:6] in simple
    assert f"[targets.team] in given.toml: {says}" in refused({}, f'[targets.team]\nurl = "{url}"\n')


def test_the_only_url_has_no_number() -> None:
    assert "URL number" not in refused({"RECEIVER_NOTIFY_URLS": "slack.com/x"})
    assert "URL number 1: " in refused({"RECEIVER_NOTIFY_URLS": "slack.com/x json://ok"})


def test_a_template_that_the_service_keeps_is_none_of_our_files() -> None:
    """WhatsApp takes nothing else from a business."""
    url = "whatsapp://token@12345/44444444444?template=hello&lang=fr_CA"
    assert [it.url for it in load_settings({"RECEIVER_NOTIFY_URLS": url}).targets] == [url]
    for scheme in target_urls._OWN_TEMPLATES:
        module = importlib.import_module(f"apprise.plugins.{MODULES[scheme]}")
        assert "AppriseAttachment" not in vars(module), f"{scheme} may read a file"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[targets.a]\n", "expected a table with the key url"),
        ('[targets.a]\nurl = "join://key/My Device"\n', "there is a blank in this URL; write it as %20"),
        ('[targets]\na = "json://h"\n', "expected a table with the key url"),
        ('[targets."a b"]\nurl = "json://h"\n', "expected a name of"),
        ('[targets.a]\nurl = "json://h"\nlabel = "x"\n', "unknown key 'label' (did you mean labels?)"),
        ('[targets.a]\nurl = "json://h"\nport = 1\n', "unknown key 'port'; a target has the keys url"),
        ('[targets.a]\nurl = "json://h"\non = ["done"]\n', "on: expected a list of some of completed"),
        ('[targets.a]\nurl = "json://h"\non = "done"\n', "on: expected a list"),
        ('[targets.a]\nurl = "json://h"\non = ["lost", "complete"]\n', "batch (did you mean completed?)"),
        ('[targets.a]\nurl = "json://h"\nlabels = [1]\n', "labels: expected a list"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(toml: str, says: str) -> None:
    assert says in refused({}, toml)


def test_the_schemes_are_those_of_the_apprise_that_is_installed() -> None:
    make: Any = NotificationManager
    manager = make()
    found = {scheme: manager[scheme].__module__.removeprefix("apprise.plugins.") for scheme in manager.schemas()}
    assert {scheme: module for scheme, module in found.items() if scheme != "file"} == MODULES


@pytest.mark.parametrize(
    ("url", "style"),
    [
        ("slack://a/b/c", MessageStyle.SLACK),
        ("MAILTOS://h", MessageStyle.EMAIL),
        ("ntfys://h/t?format=markdown", MessageStyle.TEXT),
        ("json://h", MessageStyle.TEXT),
    ],
)
def test_a_style_follows_from_the_scheme(url: str, style: MessageStyle) -> None:
    assert load_settings({"RECEIVER_NOTIFY_URLS": url}).targets[0].style is style


# -- digest, quiet hours, rate --


@pytest.mark.parametrize(
    ("text", "ms"), [("10s", 10_000), ("90s", 90_000), ("5m", 300_000), ("24h", 86_400_000), ("1d", 86_400_000)]
)
def test_a_digest_has_a_span(text: str, ms: int) -> None:
    assert one(f'digest = "{text}"').digest_ms == ms


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1/s", MessageRate(1, 1_000)), ("10/m", MessageRate(10, 60_000)), ("10000/h", MessageRate(10_000, 3_600_000))],
)
def test_a_rate_has_a_count_and_a_span(text: str, rate: MessageRate) -> None:
    assert one(f'rate = "{text}"').rate == rate


def test_quiet_hours_have_a_zone_and_exceptions() -> None:
    target = one('quiet = "22:00-07:30 Europe/Berlin"', 'quiet_except = ["failed", "attention"]')
    assert target.quiet == QuietHours(22 * 60, 7 * 60 + 30, "Europe/Berlin")
    assert target.quiet_except == {NoticeEvent.FAILED, NoticeEvent.ATTENTION}
    assert one('quiet = "00:00-23:59 UTC"').quiet_except == frozenset()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        *[(f"digest = {it}", "digest: expected a span from 10s to 1d") for it in ('"9s"', '"25h"', '"2d"', '"5"', "5")],
        *[(f"digest = {it}", "digest: expected a span") for it in ('"5 w"', '""', "true", '"٣m"', '"-5m"')],
        *[(f"rate = {it}", "rate: expected 1 to 10000 messages") for it in ('"0/s"', '"1/d"', '"10001/h"', "10")],
        *[
            (f"quiet = {it}", "quiet: expected two times of day and a time zone")
            for it in ("22", "true", '"at night UTC"', '"UTC 22:00-07:00 UTC"', '"22:00 UTC"')
        ],
        ('quiet = "07:00-07:00 UTC"', "quiet: it begins and ends at the same time"),
        ('quiet = "0:00-24:00 UTC"', "quiet: it covers the whole day; to silence a target altogether, remove its"),
        ('quiet = "22:00-07:00"', "quiet: it has no time zone; put one behind the hours, such as Europe/Berlin"),
        ('quiet = "24:00-07:00 UTC"', "quiet: it begins at 24:00; write 00:00"),
        ('quiet = "22:60-07:00 UTC"', "quiet: a time of day in it does not exist; write times from 00:00 to 24:00"),
        ('quiet = "22-25 UTC"', "quiet: a time of day in it does not exist"),
        ('quiet = "13pm-7am UTC"', "quiet: an hour with am or pm is from 1 to 12"),
        ('quiet = "22-7 UTC+2"', "quiet: this is an offset, not a time zone; use a name such as Europe/Berlin or UTC"),
        ('quiet = "22-7 berlin"', "quiet: unknown time zone (did you mean Europe/Berlin?)"),
        ('quiet = "22-7 Europe/Berln"', "quiet: unknown time zone (did you mean Europe/Berlin?)"),
        *[
            (f'quiet = "22:00-07:00 {it}"', "quiet: unknown time zone")
            for it in ("Berlin", "../../etc/passwd", "/etc/passwd", "Europe", "Europe/Berlin\\u0000")
        ],
        ('quiet_except = ["failed"]', "quiet_except is set, but there are no quiet hours"),
        ('quiet = "22:00-07:00 UTC"\nquiet_except = []', "quiet_except: expected a list of some of completed"),
        ('quiet = "22:00-07:00 UTC"\nquiet_except = ["all"]', "quiet_except: expected a list of some of completed"),
        ('template = "absent.j2"', "template: cannot read absent.j2: No such file"),
        ('template = "."', "template: cannot read .: Is a directory"),
        ("template = 1", "template: expected the name of a file"),
        ('template = ""', "template: expected the name of a file"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_with_its_target_and_its_key(line: str, says: str) -> None:
    text = refused({}, f'[targets.team]\nurl = "json://{SENTINEL}"\n{line}\n')
    assert text.startswith(f"[targets.team] in given.toml: {says}")


def test_a_machine_without_time_zones_is_told_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minimal Debian has none."""
    monkeypatch.setattr(zoneinfo, "available_timezones", set[str])
    with pytest.raises(SettingsError, match="this machine knows no time zones; install its package tzdata"):
        one('quiet = "22:00-07:00 Somewhere/Else"')


# -- templates --


def test_a_template_is_read_from_beside_the_file_that_names_it(place: Path) -> None:
    (place / "etc").mkdir()
    (place / "etc" / "team.j2").write_text("{{ title }}\n")
    (place / "etc" / "r.toml").write_text('[targets.team]\nurl = "json://h"\ntemplate = "team.j2"\n')
    (target,) = load_settings({}, Path("etc/r.toml")).targets
    assert target.template == "{{ title }}\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x" * (64 * 1024 + 1), "larger than 64 KB; check that it is the right file"),
        (b"a\n\xff", "not UTF-8 text, in line 2; save it as UTF-8"),
        ("a".encode("utf-16"), "UTF-16 text; save it as UTF-8"),
    ],
)
def test_a_template_is_a_text_of_bounded_size(place: Path, content: bytes, says: str) -> None:
    (place / "team.j2").write_bytes(content)
    text = refused({}, '[targets.team]\nurl = "json://h"\ntemplate = "team.j2"\n')
    assert text == f"[targets.team] in given.toml: template: team.j2 is {says}"


def test_a_broken_template_does_not_stop_the_start(place: Path) -> None:
    (place / "team.j2").write_text("{% for %}")
    assert one('template = "team.j2"').template == "{% for %}"


@pytest.mark.parametrize("file", ["absent.j2", "closed.j2"])
def test_only_who_tells_needs_the_templates(place: Path, file: str) -> None:
    """A laptop reads the same receiver.toml, and a backup is made though a template is gone."""
    (place / "closed.j2").write_bytes(b"\xff")
    toml = f'port = 8123\n[targets.team]\nurl = "json://h"\ntemplate = "{file}"\n'
    assert file in refused({}, toml)
    assert [it.name for it in load_settings({}, Path("given.toml"), upkeep=True).targets] == ["team"]
    assert load_settings({}, Path("given.toml"), client=True).server == "http://127.0.0.1:8123"


# -- shown --


def test_what_a_target_wishes_is_shown_as_it_was_written() -> None:
    Path("team.j2").write_text("x")
    one(
        'labels = ["a*"]',
        'template = "team.j2"',
        'digest = "300s"',
        'quiet = "22:00-07:05 UTC"',
        'quiet_except = ["failed"]',
        'rate = "10/m"',
    )
    shown = {row.name: row.shown for row in describe_settings(load_settings({}))}["[targets.team]"]
    assert shown == (
        "json://•••; digest 5m; quiet 22:00-07:05 UTC except failed; labels a*; template team.j2; rate 10/m"
    )
