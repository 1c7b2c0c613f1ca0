"""`receiver tasks pictures`: our copies become a person's files, under our names, whole, and in place of no other."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from kit.commands import TASK, Answers, serving, task
from kit.web import command, completed, served
from receiver.cli.main import cli
from receiver.client.schemas import ImageView, TaskView
from receiver.core.types import ImageCopy

Run = Callable[..., Result]
NAME = f"{TASK[:18]}-0.png"


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def run(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `tasks pictures` in an empty directory, before a service that answers as told."""
    monkeypatch.chdir(tmp_path)
    with serving(answers) as server:
        env: dict[str, str | None] = {name: None for name in os.environ if name.startswith("RECEIVER_")}
        env |= {"RECEIVER_SERVER": f"http://127.0.0.1:{server.server_address[1]}", "RECEIVER_API_TOKEN": "a-token"}
        yield lambda *args: CliRunner().invoke(cli, ("tasks", "pictures", *args), env=env)
        server.shutdown()


def kept(archived: str | None = f"/images/{TASK}/0.png", number: int = 0) -> ImageView:
    return ImageView(number, "image", "https://pics.example/0.png", archived=archived)


def with_pictures(*images: ImageView) -> TaskView:
    return replace(task("completed"), images=list(images))


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.anyio
async def test_the_kept_pictures_of_a_task_are_saved_through_the_api(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        ref = await completed(web)
        async with web.parts.store.write() as tx:
            await tx.copies.upsert([(ref, ImageCopy(0, file="0.png", size=4, media_type="image/png"))])
        await web.parts.files.save_file(ref, "0.png", b"\x89PNG")
        saved = await command(web, "tasks", "pictures", ref, str(tmp_path / "new" / "pics"))

    path = tmp_path / "new" / "pics" / f"{ref[:18]}-0.png"
    assert (saved.exit_code, saved.stdout, saved.stderr) == (0, f"{path}\n", "")
    assert path.read_bytes() == b"\x89PNG"
    assert left(path.parent) == {path.name}


def test_no_file_is_replaced_unless_that_is_asked_for(run: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    answers.then(200, with_pictures(kept()))
    told = run(TASK)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == f"receiver: picture 0: {NAME} already exists: --force replaces it\n"
    assert (tmp_path / NAME).read_bytes() == b"mine"
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    assert run(TASK, "--force").stdout == f"{NAME}\n"
    assert (tmp_path / NAME).read_bytes() == b"theirs"


def test_a_file_that_comes_while_it_is_loaded_is_not_replaced(
    run: Run, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = os.link

    def link(part: Path, path: Path) -> None:
        path.write_bytes(b"mine")
        linked(part, path)

    monkeypatch.setattr(os, "link", link)
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    assert "already exists" in run(TASK).stderr
    assert (tmp_path / NAME).read_bytes() == b"mine"
    assert left(tmp_path) == {NAME}


def test_a_link_is_replaced_and_what_it_leads_to_left_alone(run: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / NAME).symlink_to("other")
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    assert run(TASK, "--force").exit_code == 0
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert not (tmp_path / NAME).is_symlink()


@pytest.mark.parametrize(
    "archived",
    [
        "/images/../../etc/passwd",
        f"/images/{TASK}/../../../0.png",
        f"/images/{TASK}/0.sh",
        f"/images/{TASK}/0.png/../../x",
        f"/images/{TASK}/0.png\n",
        "@elsewhere.example/0.png",
        "https://elsewhere.example/0.png",
        f"/images/{TASK.replace('1', '2')}/0.png",
    ],
)
def test_no_name_of_the_service_s_is_followed(run: Run, answers: Answers, tmp_path: Path, archived: str) -> None:
    answers.then(200, with_pictures(kept(archived)))
    told = run(TASK)
    assert told.exit_code == 1
    assert "picture 0: the service keeps it under a name that this version does not know" in told.stderr
    assert len(answers.seen) == 1
    assert left(tmp_path) == set()


def test_a_ref_of_the_service_s_that_is_none_is_refused(run: Run, answers: Answers, tmp_path: Path) -> None:
    answers.then(200, replace(with_pictures(kept()), ref="../../x"))
    assert run(TASK).exit_code == 1
    assert left(tmp_path) == set()


def test_what_is_not_kept_is_said_with_why_and_the_others_are_saved(run: Run, answers: Answers, tmp_path: Path) -> None:
    failed = replace(kept(None, 1), archive="failed", archive_error="the host is not known")
    gone = kept(f"/images/{TASK}/2.png", 2)
    answers.then(200, with_pictures(failed, gone, replace(kept(None, 3), archive="due"), kept(None, 4), kept()))
    answers.then(404, {"error": {"code": "not_found", "message": "there is no such picture"}})
    answers.then(200, b"a picture")
    told = run(TASK, "--json")
    assert told.exit_code == 1
    assert told.stderr.splitlines() == [
        "receiver: picture 1: not kept: the host is not known",
        "receiver: picture 2: no longer kept: there is no such picture",
        "receiver: picture 3: being fetched",
        "receiver: picture 4: no copy of it is kept",
    ]
    assert [(it["image_no"], it["path"]) for it in json.loads(told.stdout)] == [
        *((number, None) for number in (1, 2, 3, 4)),
        (0, NAME),
    ]
    assert left(tmp_path) == {NAME}


def test_a_picture_without_an_end_is_given_up(
    run: Run, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.cli.download.PICTURE_MOST", 1 << 20)
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"x" * ((1 << 20) + 1))
    told = run(TASK)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "picture 0: it is larger than 1 MiB" in told.stderr
    assert left(tmp_path) == set()


def test_a_service_that_goes_away_leaves_no_half_picture(run: Run, answers: Answers, tmp_path: Path) -> None:
    answers.then(200, with_pictures(kept()))
    answers.then(0)
    told = run(TASK)
    assert told.exit_code == 1
    assert "no answer from" in told.stderr
    assert left(tmp_path) == set()


def test_a_folder_that_cannot_be_written_is_one_line(run: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answers.then(200, with_pictures(kept()))
    told = run(TASK, "file/pics")
    assert told.exit_code == 1
    assert told.stderr == "receiver: cannot make file/pics: Not a directory\n"


def test_a_task_without_pictures_says_how_it_is(run: Run, answers: Answers) -> None:
    answers.then(200, task("waiting"))
    told = run(TASK)
    assert told.exit_code == 1
    assert told.stderr == f"receiver: {TASK} is waiting and has no pictures\n"
