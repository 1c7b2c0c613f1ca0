"""Links to the archive: they open one file, for a while, and nothing else."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.fakes import NOW, Clock
from receiver.client.schemas import image_path
from receiver.pictures.signed_links import LASTS_S, SignedLinks
from receiver.tokens import MacPurpose, Ring, new_ref

KEY = "a-secret-key-for-tests-0001"
REF = new_ref(NOW, b"0123456789")
DAY_MS = 86_400_000


def made(*keys: str, public: bool = True, pages: bool = False) -> SignedLinks:
    return SignedLinks(Ring(keys or (KEY,)), "https://pings.example/", Clock(), reachable=public, pages=pages)


def signed(links: SignedLinks, folder: str = REF, file: str = "sheet.jpg") -> tuple[str, str]:
    """The `until` and `mac` of a link."""
    query = parse_qs(urlsplit(links.image_url(folder, file) or "").query)
    return query["until"][0], query["mac"][0]


def test_a_link_opens_its_file_until_it_ends() -> None:
    links = made()
    until, mac = signed(links)
    end = int(until) * 1000

    assert (links.image_url(REF, "sheet.jpg") or "").startswith(f"https://pings.example/images/{REF}/sheet.jpg?until=")
    assert NOW + LASTS_S * 1000 <= end <= NOW + LASTS_S * 1000 + DAY_MS
    assert links.is_valid(REF, "sheet.jpg", until, mac, NOW)
    assert links.is_valid(REF, "sheet.jpg", until, mac, end - 1)
    assert not links.is_valid(REF, "sheet.jpg", until, mac, end)


def test_a_link_opens_nothing_else_and_no_longer() -> None:
    links = made()
    until, mac = signed(links)

    assert not links.is_valid(REF, "0.png", until, mac, NOW)
    assert not links.is_valid("sample", "sheet.jpg", until, mac, NOW)
    assert not links.is_valid(REF, "sheet.jpg", str(int(until) + 1), mac, NOW)
    assert not links.is_valid(REF, "sheet.jpg", "0" + until, mac, NOW)
    assert not links.is_valid(REF, "sheet.jpg", until, mac[:-1] + ("A" if mac[-1] != "A" else "B"), NOW)


def test_a_mac_of_another_purpose_is_none_of_a_link() -> None:
    until, _ = signed(made())

    for purpose in set(MacPurpose) - {MacPurpose.IMAGE}:
        assert not made().is_valid(REF, "sheet.jpg", until, Ring([KEY]).sign(purpose, f"{REF}/sheet.jpg:{until}"), NOW)


def test_a_link_outlives_a_change_of_keys() -> None:
    until, mac = signed(made(KEY))

    assert made("another-key-for-tests-0002", KEY).is_valid(REF, "sheet.jpg", until, mac, NOW)
    assert not made("another-key-for-tests-0002").is_valid(REF, "sheet.jpg", until, mac, NOW)


@given(st.text(), st.text())
def test_nonsense_opens_nothing_and_breaks_nothing(until: str, mac: str) -> None:
    assert not made().is_valid(REF, "sheet.jpg", until, mac, NOW)


@pytest.mark.parametrize("until", ["", "-1", "1e9", "٣٣٣٣٣٣٣٣٣٣", "9" * 400, " 2000000000", "²"])
def test_an_end_is_plain_digits(until: str) -> None:
    mac = Ring([KEY]).sign(MacPurpose.IMAGE, f"{REF}/sheet.jpg:{until}")

    assert not made().is_valid(REF, "sheet.jpg", until, mac, NOW)


def test_there_are_no_links_where_nobody_outside_can_follow_them() -> None:
    links = made(public=False, pages=True)

    assert links.image_url(REF, "sheet.jpg") is None
    assert links.task_url(REF) is None


def test_a_task_has_a_link_once_there_are_pages() -> None:
    assert made().task_url(REF) is None
    assert made(pages=True).task_url(REF) == f"https://pings.example/tasks/{REF}"


def test_the_path_is_the_same_with_and_without_signature() -> None:
    assert urlsplit(made().image_url(REF, "0.png") or "").path == image_path(REF, "0.png") == f"/images/{REF}/0.png"


def test_a_link_can_end_sooner_and_never_later() -> None:
    links = made()

    def until(end: int | None) -> int:
        return int(parse_qs(urlsplit(links.image_path(REF, "0.png", end=end)).query)["until"][0])

    assert until(NOW + DAY_MS) == (NOW + DAY_MS) // 1000
    assert until(NOW - DAY_MS) == (NOW - DAY_MS) // 1000
    assert until(NOW + 100 * DAY_MS) == until(None)
