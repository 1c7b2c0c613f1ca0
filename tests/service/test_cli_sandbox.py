"""`receiver sandbox`: what is said on its command line is how the sandbox behaves."""

from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from receiver.cli.main import cli
from receiver.sandbox import CallbackBody, PictureCoding, SandboxOptions


def options_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> SandboxOptions:
    started: list[SandboxOptions] = []

    async def serve(options: SandboxOptions, *_: Any, **__: Any) -> None:
        started.append(options)

    monkeypatch.setattr("receiver.cli.sandbox.serve_sandbox", serve)
    result = CliRunner().invoke(cli, ["sandbox", *arguments])
    assert (result.exit_code, result.exception) == (0, None)
    return started[0]


def test_without_options_it_behaves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert options_of(monkeypatch) == SandboxOptions()


def test_each_option_has_its_effect_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    chances = ["fail", "drop", "duplicate", "early", "reject", "slow"]
    chances += ["refuse-key", "refuse-prompt", "gateway", "created", "stall"]
    wanted: dict[str, tuple[tuple[str, ...], object]] = {
        **{name.replace("-", "_"): ((f"--{name}", "0.5"), 0.5) for name in chances},
        "latency_s": (("--latency", "2"), 2.0),
        "seed": (("--seed", "7"), 7),
        "limit": (("--limit", "3"), 3),
        "reorder": (("--reorder",), True),
        "body": (("--body", "mixed"), CallbackBody.MIXED),
        "images": (("--images", "5"), 5),
        "no_job_id": (("--no-job-id",), True),
        "strict": (("--strict",), True),
        "late_pictures_s": (("--late-pictures", "8"), 8.0),
        "picture_coding": (("--picture-coding", "gzip"), PictureCoding.GZIP),
    }
    for name, (arguments, value) in wanted.items():
        assert options_of(monkeypatch, *arguments) == msgspec.structs.replace(SandboxOptions(), **{name: value})
    for_tests = {"script", "slow_s", "callback_retry_s", "hold_s"}
    assert {field.name for field in msgspec.structs.fields(SandboxOptions)} == {*wanted, *for_tests}


@pytest.mark.parametrize("arguments", [("--images", "65"), ("--images", "-1"), ("--limit", "0"), ("--fail", "2")])
def test_what_is_out_of_range_is_refused(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["sandbox", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_the_options_refuse_it_too() -> None:
    with pytest.raises(ValueError, match="images must be 0 to 64"):
        SandboxOptions(images=65)
