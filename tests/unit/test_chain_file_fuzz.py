"""Whatever a chain's file has, it is read or refused, and never in part."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from receiver.cli.submit.chain_file import read_chain
from receiver.cli.submit.chain_tasks import fill_chain
from receiver.cli.submit.chain_values import WrongText, find_names, replace_names
from receiver.core.chains import CHAIN_MOST
from receiver.providers import models

NAMES = st.sampled_from(["a", "b", "c", "a b", "", "é"])
MODELS = st.sampled_from(["diffusion", "outpaint", "upscale", "reroll", "retexture", "video-diffusion", "none", 7])
VALUES = st.one_of(
    st.sampled_from(["${x}", "$", "$$", "1.5", "2048x1024", "left", "subtle", "${x} ${y}", 0, 1, 1.5, True, None]),
    st.integers(-9, 70),
    st.floats(),
    st.lists(st.integers(-1, 5), max_size=3),
    st.dictionaries(NAMES, st.integers(), max_size=2),
)
KEYS = st.sampled_from(["text", "prompt", "scale", "type", "imageNo", "jobId", "mask", "canvas", "videoType", "any"])
STEPS = st.fixed_dictionaries(
    {"name": NAMES, "model": MODELS},
    optional={
        "after": NAMES,
        "from": VALUES,
        "image_no": st.one_of(VALUES, st.sampled_from(["all", "pick", "0,1"])),
        "params": st.dictionaries(KEYS, VALUES, max_size=4),
        "label": VALUES,
        "anyway": st.booleans(),
        "any": VALUES,
    },
)


def toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{toml(str(key))} = {toml(it)}' for key, it in value.items() if it is not None)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return str(value) if isinstance(value, int | float) else '"' + str(value).replace('"', "") + '"'


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    chain, faults = read_chain(content)
    assert faults
    assert fill_chain(chain, {})[1] == []


@given(st.lists(STEPS, max_size=5), st.dictionaries(st.sampled_from(["x", "y"]), st.one_of(st.none(), st.text())))
def test_any_steps_become_tasks_that_the_service_takes_or_faults(steps: list[Any], values: dict[str, Any]) -> None:
    lines = [
        "[[step]]\n" + "\n".join(f"{key} = {toml(it)}" for key, it in step.items() if it is not None) for step in steps
    ]
    chain, faults = read_chain("\n".join(lines).encode())
    tasks, wrong = fill_chain(chain, values)
    if faults or wrong:
        return
    assert len(tasks.tasks) == len(steps)
    assert sum(tasks.counts.values()) <= CHAIN_MOST
    assert tasks.tasks[0].wait_for is None or tasks.tasks[0].wait_for.ref  # type: ignore[union-attr]
    for task in tasks.tasks:
        assert models.check_params(task.model, task.params, anyway=task.anyway, fed=task.wait_for is not None)


@given(st.text(alphabet="${}ab \\", max_size=12))
def test_a_text_is_replaced_whole_or_refused(text: str) -> None:
    try:
        names = set(find_names(text))
    except WrongText:
        try:
            replace_names(text, dict.fromkeys("ab", "v"))
        except WrongText:
            return
        raise AssertionError(text) from None
    if names <= {"a", "b", "ab"}:
        expected = text.replace("$$", "\0").replace("${a}", "1").replace("${b}", "2").replace("${ab}", "3")
        if " " not in text:
            assert replace_names(text, {"a": "1", "b": "2", "ab": "3"}) == expected.replace("\0", "$")
