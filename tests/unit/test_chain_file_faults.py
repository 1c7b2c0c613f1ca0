"""What is wrong with the file of a chain is said once."""

import pytest

from receiver.cli.submit.chain_file import read_chain
from receiver.cli.submit.chain_tasks import fill_chain

FIRST = '[[step]]\nname = "a"\nmodel = "diffusion"\nparams = { prompt = "x" }\n'
NEXT = '[[step]]\nname = "{}"\nafter = "a"\nmodel = "outpaint"\nparams = {{ scale = 1.5 }}\n{}'


def faults(text: str) -> list[str]:
    chain, wrong = read_chain(text.encode())
    return [str(it) for it in (*wrong, *fill_chain(chain, {})[1])]


@pytest.mark.parametrize("image_no", ['"first"', "1.5", "true", "[]", "[0, 0]", '"${missing}"'])
def test_a_picture_that_cannot_be_read_is_not_called_missing_too(image_no: str) -> None:
    [fault] = faults(FIRST + NEXT.format("b", f"image_no = {image_no}\n"))
    assert fault.startswith("step b: image_no: ")


def test_a_picture_that_will_not_be_made_is_one_fault() -> None:
    assert faults(FIRST + NEXT.format("b", "image_no = 7\n")) == [
        "step b: image_no: there will be no picture 7: a makes 4 pictures, counted from 0"
    ]
    [fault] = faults(FIRST + NEXT.format("b", "image_no = 7\nanyway = true\n"))
    assert fault.startswith("step b: image_no: 7 must be a whole number from 0 to 3")


def test_a_picture_that_is_missing_is_asked_for() -> None:
    [fault] = faults(FIRST + NEXT.format("b", ""))
    assert fault.startswith("step b: image_no: from which picture does it go on?")


@pytest.mark.parametrize("count", [1_001, 1_500])
def test_of_far_too_many_steps_the_right_number_is_said(count: int) -> None:
    text = FIRST + "".join(NEXT.format(f"s{number}", "image_no = 0\n") for number in range(count - 1))
    assert faults(text) == [f"it has {count:,} steps, and a chain may have 64 tasks"]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ('strength = "weak"', "step b: strength: 'weak' must be subtle (0) or strong (1)"),
        ('type = "weak"', "step b: type: 'weak' must be subtle (0) or strong (1)"),
        ("", "step b: strength: is missing"),
        ('type = "subtle"\nremixPrompt = 7', "step b: remixPrompt: 7 must be text"),
        ('type = "subtle"\nprompt = 7', "step b: prompt: 7 must be text"),
        ('type = "subtle"\nzoom = 7', "it takes prompt, strength"),
    ],
)
def test_a_parameter_is_called_as_the_file_calls_it(params: str, fault: str) -> None:
    table = f"[step.params]\n{params}\n"
    text = '[[step]]\nname = "a"\nmodel = "diffusion"\nparams = { prompt = "x" }\n'
    text += f'[[step]]\nname = "b"\nmodel = "variation"\nafter = "a"\nimage_no = 0\n{table}'
    found = faults(text)
    assert any(fault in it for it in found), found
