"""What root opens in another user's folder: no link, no third user's file, and always what was checked."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core.errors import UnsafeFile
from receiver.safe_open import Trust, judge_folder, open_file, pinned_folder, private_folder, real_path, why_unsafe

USER, OTHER = 12_345, 12_346
ROOT = frozenset({0})
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' folders to fear")


def state(kind: int, mode: int, owner: int, links: int = 1) -> os.stat_result:
    return os.stat_result((kind | mode, 1, 1, links, owner, owner, 0, 0, 0, 0))


OURS, THEIRS = state(stat.S_IFDIR, 0o755, 0), state(stat.S_IFDIR, 0o700, USER)
SHARED = state(stat.S_IFDIR, 0o1777, 0)


def test_a_folder_is_judged_by_who_can_put_something_into_it() -> None:
    assert judge_folder(OURS, ROOT) is Trust.OURS
    assert judge_folder(SHARED, ROOT) is judge_folder(state(stat.S_IFDIR, 0o775, 0), ROOT) is Trust.SHARED
    assert judge_folder(THEIRS, ROOT) is Trust.FOREIGN
    assert judge_folder(THEIRS, frozenset({0, USER})) is Trust.OURS


@pytest.mark.parametrize(
    ("found", "around", "why"),
    [
        (state(stat.S_IFLNK, 0o777, USER), OURS, None),
        (state(stat.S_IFREG, 0o600, USER, 2), OURS, None),
        (state(stat.S_IFREG, 0o600, USER), THEIRS, None),
        (state(stat.S_IFREG, 0o600, USER, 2), THEIRS, None),
        (state(stat.S_IFREG, 0o600, 0), THEIRS, None),
        (state(stat.S_IFDIR, 0o700, 0, 3), THEIRS, None),
        (state(stat.S_IFREG, 0o600, 0, 2), THEIRS, "hard link"),
        (state(stat.S_IFREG, 0o600, OTHER), THEIRS, f"belongs to user {OTHER}, and its folder to user {USER}"),
        (state(stat.S_IFDIR, 0o700, OTHER), THEIRS, f"belongs to user {OTHER}"),
        (state(stat.S_IFLNK, 0o777, USER), THEIRS, "is a link"),
        (state(stat.S_IFLNK, 0o777, 0), THEIRS, "is a link"),
        (state(stat.S_IFLNK, 0o777, USER), SHARED, "is a link"),
        (state(stat.S_IFLNK, 0o777, 0), SHARED, None),
        (state(stat.S_IFDIR, 0o700, USER), SHARED, None),
        (state(stat.S_IFREG, 0o600, USER), SHARED, None),
        (state(stat.S_IFREG, 0o600, 0, 2), SHARED, "hard link"),
    ],
)
def test_what_may_have_been_planted_is_told_from_what_may_not(
    found: os.stat_result, around: os.stat_result, why: str | None
) -> None:
    told = why_unsafe(found, around, ROOT)
    assert told is None if why is None else why in (told or "")


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A folder of another user, in one that only root can change."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "state")
        folder.mkdir()
        own(folder / "deep", "deep").parent.mkdir(exist_ok=True)
        os.chown(folder, USER, USER)
        yield folder


def own(path: Path, text: str) -> Path:
    """A file of the other user's, in folders of theirs."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    for each in (path.parent, path):
        os.chown(each, USER, USER)
    return path


def content(path: Path) -> str:
    with open(path, opener=open_file) as file:
        return file.read()


@as_root
def test_their_own_files_and_root_s_are_read(theirs: Path) -> None:
    assert content(own(theirs / "a" / "b", "theirs")) == "theirs"
    (theirs / "ours").write_text("root's")
    assert content(theirs / "ours") == "root's"
    assert real_path(theirs / "missing") == theirs.resolve() / "missing"


@as_root
@pytest.mark.parametrize("way", ["symbolic", "hard", "a folder", "dangling"])
def test_nothing_is_opened_through_a_link(theirs: Path, way: str, tmp_path: Path) -> None:
    secret = theirs.parent / "secret"
    secret.write_text("root's own")
    place = theirs / "link"
    if way == "hard":
        os.link(secret, place)
    else:
        place.symlink_to({"symbolic": secret, "a folder": secret.parent}.get(way, Path("nowhere")))
    path = place / "secret" if way == "a folder" else place
    for attempt in (content, real_path, lambda it: open_file(it, os.O_RDWR)):
        with pytest.raises(UnsafeFile, match=f"{place} .*link.*: `rm {place}`"):
            attempt(path)
    with pytest.raises(UnsafeFile), pinned_folder(place):
        pass


@as_root
def test_links_that_only_root_can_have_made_are_followed(theirs: Path) -> None:
    """As systemd's from /var/lib/receiver into /var/lib/private."""
    link = theirs.parent / "link"
    link.symlink_to("state")
    assert content(own(theirs / "a", "theirs").parent.parent / "link" / "a") == "theirs"
    assert real_path(link / "a") == theirs.resolve() / "a"
    loop = theirs.parent / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="Too many levels"):
        open_file(loop)


@as_root
def test_a_way_back_up_is_walked_too(theirs: Path) -> None:
    own(theirs / "a", "theirs")
    assert content(theirs / ".." / "state" / "." / "a") == "theirs"
    assert content(Path("/..") / theirs.relative_to("/") / "a") == "theirs"


@as_root
def test_a_pipe_does_not_block(theirs: Path) -> None:
    os.mkfifo(theirs / "pipe")
    os.chown(theirs / "pipe", USER, USER)
    with pytest.raises(UnsafeFile, match="is not a file"):
        open_file(theirs / "pipe")


@as_root
def test_a_pinned_folder_stays_the_same_when_its_name_is_given_to_another(theirs: Path) -> None:
    """And an error calls it by its own name."""
    own(theirs / "a" / "b", "theirs")
    with pinned_folder(theirs / "a") as here:
        (theirs / "a").rename(theirs / "aside")
        (theirs / "a").symlink_to("/etc")
        assert (here / "b").read_text() == "theirs"
        (here / "new").write_text("root's")
    assert (theirs / "aside" / "new").exists()
    with pytest.raises(UnsafeFile, match=f"^{theirs}/x: no; remove {theirs}/x$"), pinned_folder(theirs) as here:
        raise UnsafeFile(f"{here}/x: no", remedy=f"remove {here}/x")


@as_root
def test_root_works_where_nobody_else_can_change_anything(theirs: Path, tmp_path: Path) -> None:
    """And leaves nothing behind, nor what a killed process left."""
    with private_folder(tmp_path) as folder:
        assert folder == tmp_path
    left = Path(tempfile.mkdtemp(prefix=".receiver-upkeep-", dir=theirs.parent))
    with private_folder(own(theirs / "a" / "b", "").parent) as folder:
        assert folder.parent == theirs.parent.resolve()
        assert (folder.stat().st_uid, stat.S_IMODE(folder.stat().st_mode)) == (0, 0o700)
        assert not left.exists()
        with private_folder(theirs) as another:
            assert folder.exists()
            assert another != folder
    assert [it.name for it in theirs.parent.iterdir()] == ["state"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root is refused them in another's folder")
def test_other_users_follow_links_as_usual(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    (tmp_path / "b").symlink_to("a")
    assert content(tmp_path / "b") == "mine"
