"""`receiver tasks pictures`: our copies become a person's files, under our names, whole, and in place of no other."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.commands import OUTPAINT, TASK, Answers, Run, task
from kit.commands import told as told_of
from kit.web import command, completed, served
from receiver.client.client import Client
from receiver.client.schemas import ImageView, TaskView
from receiver.core.types import ImageCopy

NAME = f"{TASK[:18]}-0.png"


@pytest.fixture
def save(run: Run) -> Run:
    """Runs `tasks pictures`."""
    return lambda *args: run("tasks", "pictures", *args)


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


def test_no_file_is_replaced_unless_that_is_asked_for(save: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    told = save(TASK)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == f"receiver: picture 0: {NAME} already exists, and is not the same: --force replaces it\n"
    assert (tmp_path / NAME).read_bytes() == b"mine"
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    assert save(TASK, "--force").stdout == f"{NAME}\n"
    assert (tmp_path / NAME).read_bytes() == b"theirs"


@pytest.mark.parametrize(("here", "there"), [(b"theirs", b"theirs"), (b"", b""), (b"x" * 200_000, b"x" * 200_000)])
def test_a_picture_that_is_there_already_is_enough(
    save: Run, answers: Answers, tmp_path: Path, here: bytes, there: bytes
) -> None:
    (tmp_path / NAME).write_bytes(here)
    answers.then(200, with_pictures(kept()))
    answers.then(200, there)
    told = save(TASK)
    assert (told.exit_code, told.stdout, told.stderr) == (0, f"{NAME}\n", "")


@pytest.mark.parametrize("there", [b"their", b"theirs!", b"", b"others"])
def test_a_file_that_is_only_partly_the_picture_is_not(
    save: Run, answers: Answers, tmp_path: Path, there: bytes
) -> None:
    (tmp_path / NAME).write_bytes(b"theirs")
    answers.then(200, with_pictures(kept()))
    answers.then(200, there)
    assert save(TASK).exit_code == 1
    assert (tmp_path / NAME).read_bytes() == b"theirs"


def coming() -> TaskView:
    return with_pictures(replace(kept(None), archive="due"), replace(kept(None, 1), archive="due"))


def test_what_is_being_fetched_is_waited_for(save: Run, answers: Answers, tmp_path: Path) -> None:
    answers.then(200, coming())
    answers.then(200, coming())
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    told = save(TASK)
    assert (told.exit_code, told.stdout) == (0, f"{NAME}\n")
    assert told.stderr == "the service is fetching its pictures; waiting up to 90 s\n"


def test_what_is_fetched_again_only_later_is_not_waited_for(save: Run, answers: Answers) -> None:
    later = replace(kept(None, 1), archive="due", archive_at="2999-11-22T08:16:00Z", archive_error=None)
    answers.then(200, with_pictures(kept(), later))
    answers.then(200, b"theirs")
    told = save(TASK)
    assert (told.exit_code, told.stdout) == (1, f"{NAME}\n")
    assert told.stderr.startswith("receiver: picture 1: not kept yet, tried again ")


def test_it_is_not_waited_for_ever(save: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.cli.waiting.PICTURES_S", 0.0)
    answers.then(200, coming())
    told = save(TASK)
    assert told.exit_code == 1
    assert "receiver: picture 1: being fetched" in told.stderr


# -- submit --wait --


@pytest.fixture
def submit(run: Run) -> Run:
    """Runs `submit outpaint`."""
    return lambda *args: run(*OUTPAINT, *args)


def test_waiting_for_a_task_waits_for_its_pictures_and_saves_them(
    submit: Run, answers: Answers, tmp_path: Path
) -> None:
    """Standard output has the ref alone; what is saved where is news."""
    answers.then(202, task())
    answers.then(200, told_of(coming()), "text/event-stream")
    answers.then(200, task("submitting"))
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    told = submit("--pictures", "new/pics")
    assert (told.exit_code, told.stdout) == (0, f"{TASK}\n")
    assert f"saved new/pics/{NAME}" in told.stderr
    assert (tmp_path / "new" / "pics" / NAME).read_bytes() == b"theirs"


def test_a_folder_that_cannot_be_made_costs_nothing(submit: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    told = submit("--wait", "--pictures", "file/pics")
    assert (told.exit_code, told.stderr) == (1, "receiver: cannot make file/pics: Not a directory\n")
    assert answers.seen == []


def test_a_picture_that_cannot_be_saved_ends_with_status_1_and_the_ref(submit: Run, answers: Answers) -> None:
    answers.then(202, task())
    answers.then(200, told_of(with_pictures(replace(kept(None), archive="failed"))), "text/event-stream")
    answers.then(200, task("submitting"))
    told = submit("--pictures", ".", "--wait")
    assert (told.exit_code, told.stdout) == (1, f"{TASK}\n")
    assert told.stderr.endswith("receiver: picture 0: not kept\n")


def test_who_stops_waiting_is_told_that_it_goes_on(
    submit: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(client: Client, ref: str, **_: object) -> Iterator[TaskView]:
        yield task("waiting")
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "follow_task", interrupt)
    answers.then(202, task())
    told = submit("--wait")
    assert (told.exit_code, told.stdout) == (130, f"{TASK}\n")
    assert f"receiver: it goes on without you; see `receiver tasks show {TASK}`" in told.stderr.splitlines()


def test_who_waits_while_the_service_is_gone_is_told_once_and_in_the_end_that_it_goes_on(
    submit: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.client.client.STREAM_GAP_S", 0)
    answers.then(202, task())
    answers.then(200, told_of(task("waiting")), "text/event-stream")
    answers.then(200, task("waiting"))
    answers.then(0)
    answers.then(0)
    answers.then(401, {"error": {"code": "unauthorized", "message": "no"}})
    told = submit("--wait")
    assert (told.exit_code, told.stdout) == (1, f"{TASK}\n")
    assert told.stderr.count("connection lost, reconnecting") == 1
    assert f"receiver: the task goes on: `receiver tasks show {TASK}`" in told.stderr.splitlines()


def test_who_saves_the_pictures_is_not_told_how_to_save_them(submit: Run, answers: Answers) -> None:
    for args, count in ((("--wait",), 1), (("--wait", "--pictures", "."), 0)):
        answers.turns.clear()
        answers.then(202, task())
        answers.then(200, told_of(with_pictures(kept())), "text/event-stream")
        answers.then(200, with_pictures(kept()))
        answers.then(200, b"theirs")
        told = submit(*args)
        assert (told.exit_code, told.stderr.count("to save the picture here")) == (0, count)


def test_a_service_that_refuses_while_it_is_waited_for_does_not_cost_the_ref(submit: Run, answers: Answers) -> None:
    """With --json, the ref is printed only at the end."""
    answers.then(202, task())
    answers.then(401, {"error": {"code": "unauthorized", "message": "no"}})
    told = submit("--wait", "--json")
    assert (told.exit_code, told.stdout) == (1, "")
    assert f"receiver: {TASK} was submitted" in told.stderr.splitlines()


def test_a_file_that_comes_while_it_is_loaded_is_not_replaced(
    save: Run, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = os.link

    def link(part: Path, path: Path) -> None:
        path.write_bytes(b"mine")
        linked(part, path)

    monkeypatch.setattr(os, "link", link)
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    assert "already exists" in save(TASK).stderr
    assert (tmp_path / NAME).read_bytes() == b"mine"
    assert left(tmp_path) == {NAME}


def test_a_link_is_replaced_and_what_it_leads_to_left_alone(save: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / NAME).symlink_to("other")
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"theirs")
    assert save(TASK, "--force").exit_code == 0
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
def test_no_name_of_the_service_s_is_followed(save: Run, answers: Answers, tmp_path: Path, archived: str) -> None:
    answers.then(200, with_pictures(kept(archived)))
    told = save(TASK)
    assert told.exit_code == 1
    assert "picture 0: the service keeps it under a name that this version does not know" in told.stderr
    assert len(answers.seen) == 1
    assert left(tmp_path) == set()


def test_a_ref_of_the_service_s_that_is_none_is_refused(save: Run, answers: Answers, tmp_path: Path) -> None:
    answers.then(200, replace(with_pictures(kept()), ref="../../x"))
    assert save(TASK).exit_code == 1
    assert left(tmp_path) == set()


def test_what_is_not_kept_is_said_with_why_and_the_others_are_saved(
    save: Run, answers: Answers, tmp_path: Path
) -> None:
    failed = replace(kept(None, 1), archive="failed", archive_error="the host is not known")
    gone = kept(f"/images/{TASK}/2.png", 2)
    due = replace(kept(None, 3), archive="due", archive_at="odd")
    answers.then(200, with_pictures(failed, gone, due, kept(None, 4), kept()))
    answers.then(404, {"error": {"code": "not_found", "message": "there is no such picture"}})
    answers.then(200, b"a picture")
    told = save(TASK, "--json")
    assert told.exit_code == 1
    assert told.stderr.splitlines() == [
        "receiver: picture 1: not kept: the host is not known",
        "receiver: picture 2: no longer kept: there is no such picture",
        "receiver: picture 3: not kept yet, tried again –",
        "receiver: picture 4: no copy of it is kept",
    ]
    assert [(it["image_no"], it["path"]) for it in json.loads(told.stdout)] == [
        *((number, None) for number in (1, 2, 3, 4)),
        (0, NAME),
    ]
    assert left(tmp_path) == {NAME}


def test_a_picture_without_an_end_is_given_up(
    save: Run, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.cli.download.PICTURE_MOST", 1 << 20)
    answers.then(200, with_pictures(kept()))
    answers.then(200, b"x" * ((1 << 20) + 1))
    told = save(TASK)
    assert (told.exit_code, told.stdout) == (1, "")
    assert "picture 0: it is larger than 1 MiB" in told.stderr
    assert left(tmp_path) == set()


def test_a_service_that_goes_away_leaves_no_half_picture(save: Run, answers: Answers, tmp_path: Path) -> None:
    answers.then(200, with_pictures(kept()))
    answers.then(0)
    told = save(TASK)
    assert told.exit_code == 1
    assert "no answer from" in told.stderr
    assert left(tmp_path) == set()


def test_a_folder_that_cannot_be_written_is_one_line(save: Run, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answers.then(200, with_pictures(kept()))
    told = save(TASK, "file/pics")
    assert told.exit_code == 1
    assert told.stderr == "receiver: cannot make file/pics: Not a directory\n"


def test_a_task_without_pictures_says_how_it_is(save: Run, answers: Answers) -> None:
    answers.then(200, task("waiting"))
    told = save(TASK)
    assert told.exit_code == 1
    assert (
        told.stderr
        == f"receiver: {TASK} is waiting and has no pictures yet; `receiver tasks watch` shows when it ends\n"
    )
    answers.then(200, task("failed"))
    assert save(TASK).stderr == f"receiver: {TASK} is failed and has no pictures\n"
