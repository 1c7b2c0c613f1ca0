"""The file of a chain: what it becomes, and that everything that is wrong with it is said at once, with the step."""

from typing import Any

import pytest

from receiver.cli.submit.chain_file import ChainFault, read_chain
from receiver.cli.submit.chain_tasks import ChainTasks, fill_chain
from receiver.cli.submit.chain_values import WrongText, replace_names
from receiver.client.schemas import NewTask, WaitFor

EXTEND = """
label = "lighthouse"
[[step]]
name = "make"
model = "midjourney_diffusion"
params = { text = "${prompt} --ar 3:2 --v 7" }
[[step]]
name = "wide"
model = "outpaint"
after = "make"
image_no = "pick"                  # a person; or 0..3, [0, 2], "all"
params = { scale = 1.5 }
[[step]]
name = "big"
model = "midjourney_upscale"
after = "wide"
image_no = 0
params = { type = "standard" }
"""
FIRST = '[[step]]\nname = "a"\nmodel = "diffusion"\nparams = { prompt = "x" }\n'


def fill(text: str, **values: Any) -> tuple[ChainTasks, list[str]]:
    """The tasks of a file, and what is wrong with it."""
    chain, faults = read_chain(text.encode())
    tasks, wrong = fill_chain(chain, values)
    return tasks, [str(it) for it in (*faults, *wrong)]


def step(name: str, after: str, image_no: str = "0", more: str = 'model = "outpaint"\nparams = { scale = 1.5 }') -> str:
    """A step as the file has it."""
    image = f"image_no = {image_no}\n" if image_no else ""
    return f'[[step]]\nname = "{name}"\nafter = "{after}"\n{image}{more}\n'


def test_the_example_becomes_three_tasks_of_which_each_waits_for_the_one_before() -> None:
    tasks, faults = fill(EXTEND, prompt="a lighthouse")
    assert faults == []
    assert tasks.tasks == (
        NewTask("midjourney_diffusion", {"text": "a lighthouse --ar 3:2 --v 7"}, label="lighthouse", name="make"),
        NewTask(
            "midjourney_outpaint",
            {"scale": 1.5},
            label="lighthouse",
            name="wide",
            wait_for=WaitFor(name="make", image_no="pick"),
        ),
        NewTask(
            "midjourney_upscale",
            {"type": "standard"},
            label="lighthouse",
            name="big",
            wait_for=WaitFor(name="wide", image_no=0),
        ),
    )
    assert tasks.counts == {"make": 1, "wide": 1, "big": 1}
    assert tasks.hints == ()


def test_steps_may_stand_in_any_order() -> None:
    tasks, faults = fill(step("c", "b") + step("b", "a") + FIRST)
    assert (faults, [it.name for it in tasks.tasks]) == ([], ["a", "b", "c"])


def test_a_step_may_say_what_the_chain_says_otherwise() -> None:
    text = 'label = "x ${n}"\ntargets = ["slack"]\npoll_only = true\n' + FIRST
    more = 'model = "pan"\nparams = { direction = "left", scale = 9 }\nlabel = "own"\ntarget = "mail"\nping = true\n'
    tasks, faults = fill(text + step("b", "a", '"all"', f"{more}anyway = true\npoll_only = false"), n=7)
    first, second = tasks.tasks
    assert faults == []
    assert (first.label, first.targets, first.poll_only, first.anyway, first.ping) == (
        "x 7",
        ("slack",),
        True,
        False,
        None,
    )
    assert (second.label, second.targets, second.poll_only, second.anyway, second.ping) == (
        "own", ("mail",), False, True, True,
    )  # fmt: skip
    assert tasks.counts == {"a": 1, "b": 4}
    assert tasks.model_counts == {"midjourney_diffusion": 1, "midjourney_pan": 4}


def test_the_first_step_may_go_on_from_a_task_that_is_there() -> None:
    text = '[[step]]\nname = "a"\nmodel = "outpaint"\nfrom = "${ref}"\nimage_no = "${n}"\nparams = { scale = "${s}" }\n'
    tasks, faults = fill(text, ref="hero", n="0,2", s="1.5")
    assert faults == []
    assert tasks.tasks[0].wait_for == WaitFor(ref="hero", image_no=(0, 2))
    assert (tasks.tasks[0].params, tasks.counts) == ({"scale": 1.5}, {"a": 2})


# -- names --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ${x} b", "a 1 b"),
        ("$$5 and $${x}", "$5 and ${x}"),
        ("$$$$", "$$"),
        ("${x}${y}", "1two"),
        ("${ X }", "1"),
        ("${y}", "two"),
        ("${n}", 2.0),
        ("n=${n}", "n=2"),
        ("${none}", None),
        ({"a": ["${x}", 3]}, {"a": ["1", 3]}),
        (7, 7),
    ],
)
def test_what_a_name_stands_for_takes_its_place(text: object, expected: object) -> None:
    assert replace_names(text, {"x": "1", "y": "two", "n": 2.0, "none": None}) == expected


@pytest.mark.parametrize("text", ["$5", "$x", "$", "${", "${}", "${x", "a ${a{b}} c", "${x\n}${é}", "${x:-1}"])
def test_a_dollar_that_is_neither_a_name_nor_doubled_is_a_fault(text: str) -> None:
    with pytest.raises(WrongText, match=r"write \$\{name\} for a value, and \$\$ for a dollar"):
        replace_names(text, {"x": "1"})


def test_an_unknown_name_names_the_nearest() -> None:
    _, faults = fill(EXTEND, prmpt="x")
    assert faults == ["step make: text: ${prompt} stands for nothing (did you mean prmpt?)"]
    _, faults = fill(EXTEND)
    assert faults == [
        "step make: text: ${prompt} stands for nothing; there are no values: give them with --set NAME=VALUE"
    ]


def test_what_is_empty_is_left_out() -> None:
    tasks, faults = fill(EXTEND.replace("scale = 1.5", 'scale = 1.5, remixPrompt = "${sea}"'), prompt="x", sea="")
    assert faults == []
    assert tasks.tasks[1].params == {"scale": 1.5}


@pytest.mark.parametrize("value", ["", " \t", None])
def test_what_is_empty_is_a_fault_where_it_is_needed(value: str | None) -> None:
    """Else a prompt of nothing but flags would be paid for."""
    assert fill(EXTEND, prompt=value)[1] == ["step make: text: ${prompt} is empty"]
    alone = EXTEND.replace("${prompt} --ar 3:2 --v 7", "${prompt}")
    assert fill(alone, prompt=value)[1] == ["step make: text: ${prompt} is empty"]


def test_a_name_that_stands_for_nothing_is_said_once() -> None:
    text = EXTEND.replace("scale = 1.5", 'scale = 1.5, remixPrompt = "${prompt}"')
    _, faults = fill(text)
    assert len(faults) == 1


@pytest.mark.parametrize("key", ["image-no", "imageNo", "video_no", "video-no"])
def test_the_picture_s_number_may_be_spelt_as_the_options_are(key: str) -> None:
    tasks, faults = fill(FIRST + step("b", "a", "2").replace("image_no", key))
    assert faults == []
    assert tasks.tasks[1].wait_for == WaitFor(name="a", image_no=2)
    again = FIRST + step("b", "a", "2") + f"\n{key} = 1\n"
    assert "step b: image_no: it is given twice" in fill(again)[1]


def test_faults_come_in_the_order_of_the_steps() -> None:
    text = FIRST.replace('"x"', "7") + step("b", "a", "[]") + step("c", "b", "0").replace('"outpaint"', '"outpain"')
    chain, faults = read_chain(text.encode())
    faults += fill_chain(chain, {})[1]
    assert [it.step for it in chain.sort_faults(faults)] == ["a", "b", "c"]


# -- what is wrong --


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "it has no steps: each begins with [[step]]"),
        ("step = 1", "it has no steps"),
        ("[step]\nname = 1", "it has no steps"),
        ("a = ", "it is not TOML: "),
        (f"lable = 1\n{FIRST}", "there is nothing called 'lable' (did you mean label?)"),
        (f"{FIRST}scale = 1", "step a: there is nothing called 'scale'; known are name, model,"),
        (f"{FIRST}poll-only = true", "step a: there is nothing called 'poll-only' (did you mean poll_only?)"),
        ('[[step]]\nmodel = "diffusion"\nparams = { text = "x" }', "step 1: it has no name"),
        (FIRST.replace('"a"', '"a b"'), "step 1: name: 'a b' cannot be one"),
        (FIRST.replace('"a"', f'"{"a" * 41}"'), "cannot be one: 1 to 40 letters"),
        (FIRST.replace('"a"', "7"), "step 1: name: '7' cannot be one"),
        (FIRST + FIRST, "step a: two steps have this name"),
        (
            FIRST.replace('"diffusion"', '"difusion"'),
            "step a: model: unknown model 'difusion' (did you mean midjourney_d",
        ),
        (FIRST.replace('model = "diffusion"\n', ""), "step a: model: it is missing"),
        (FIRST.replace("{ prompt", "{ promt"), "step a: params: diffusion has no 'promt' (did you mean prompt?)"),
        (FIRST.replace('"x"', "7"), "step a: prompt: 7 must be text"),
        (FIRST.replace('params = { prompt = "x" }', ""), "step a: prompt: is missing (8004001001)"),
        (FIRST + "params.x = 1", "it is not TOML"),
        (FIRST.replace('params = { prompt = "x" }', "params = 1"), "step a: params: it must be a table"),
        (FIRST + "label = 7", "step a: label: it must be text"),
        (FIRST + "targets = []", "step a: targets: it must be a list"),
        (FIRST + 'ping = "yes"', "step a: ping: it must be true or false"),
        (FIRST + "image_no = 0", "step a: image_no: this step goes on from no other one"),
        (FIRST + 'after = "a"', "these steps wait for each other: a → a"),
        (FIRST + 'from = "x"', "step a: diffusion cannot go on from another task: it takes no picture"),
        (FIRST + step("b", "A"), "step b: after: there is no step 'A'; the steps are a and b"),
        (
            FIRST + step("b", "mak").replace('"a"', '"make"'),
            "step b: after: there is no step 'mak'; the steps are a and b",
        ),
        (FIRST + step("b", "a", ""), "step b: image_no: from which picture does it go on? 0 to 3, several as in"),
        (
            FIRST + step("b", "a", "4"),
            "step b: image_no: there will be no picture 4: a makes 4 pictures, counted from 0",
        ),
        (FIRST + step("b", "a", "[0, 0]"), "step b: image_no: 0,0 names a picture twice"),
        (FIRST + step("b", "a", "[]"), "step b: image_no: write a number, several as in [0, 2], 'all' or 'pick'"),
        (FIRST + step("b", "a", "true"), "step b: image_no: write a number"),
        (FIRST + step("b", "a", '"any"'), "step b: image_no: any is not a picture's number"),
        (FIRST + step("b", "a", "-1"), "step b: image_no: -1 must be a whole number from 0 to 3"),
        (
            FIRST + step("b", "a", "0").replace("1.5", "3"),
            "step b: scale: 3 must be a number from 1.1 to 2.0 (004007005)",
        ),
        (FIRST + step("b", "a", "0", 'model = "reroll"'), "step b: image_no: it goes on from the whole task"),
        (
            FIRST + step("b", "a", "0", 'model = "pan"\nparams = { direction = "left", scale = 9 }'),
            "9 should be a number from 1.1 to 3.0: Midjourney's own API requires that, and the provider's pages do not",
        ),
        (
            FIRST.replace('"x"', '"x --v 8.1"')
            + step("b", "a", "0", 'model = "upscale"\nparams = { type = "creative" }'),
            "step b: upscale probably cannot follow a: pictures of version 8.1 cannot be enlarged",
        ),
        (
            FIRST + '[[step]]\nname = "b"\nmodel = "outpaint"\nparams = { scale = 1.5 }',
            "step b: jobId: is missing (004007001); or say what it goes on from, with after",
        ),
        (FIRST + FIRST.replace('"a"', '"b"'), "a and b each begin a chain: a file has one chain"),
        (FIRST + step("b", "a") + 'from = "x"', "step b: give either after (a step) or from (a task), not both"),
        (
            FIRST.replace('"x"', '"a $5 sea"'),
            "step a: params: “$5 sea”: write ${name} for a value, and $$ for a dollar",
        ),
    ],
)
def test_each_fault_is_said_with_its_step(text: str, fault: str) -> None:
    _, faults = fill(text)
    assert [it for it in faults if it.startswith(fault) or fault in it], faults


def test_all_faults_are_said_at_once() -> None:
    text = FIRST.replace("diffusion", "difusion") + step("b", "z").replace("1.5", "3") + step("c", "b", "9")
    _, faults = fill(text)
    assert [it.partition(":")[0] for it in faults] == ["step a", "step b", "step b", "step c"]


def test_a_circle_names_its_steps_in_order_and_does_not_hide_what_else_is_wrong() -> None:
    _, faults = fill(FIRST + step("b", "d") + step("c", "b") + step("d", "c") + step("e", "d") + step("f", "a", "9"))
    assert faults[0] == "these steps wait for each other: b → d → c → b"
    assert [it for it in faults if it.startswith("step f")]


def test_a_chain_has_at_most_64_tasks() -> None:
    """One and four, of each four: 1 + 4 + 16, and three tasks more of each of these."""
    text = FIRST + step("b", "a", '"all"') + step("c", "b", '"all"') + step("d", "c", "[0, 1]")
    assert fill(text) == (fill(text)[0], [])
    assert sum(fill(text)[0].counts.values()) == 1 + 4 + 16 + 32
    alone = [step(f"x{number}", "a", more='model = "enhance"\nanyway = true') for number in range(12)]
    assert fill(text + "".join(alone[:11]))[1] == []
    _, faults = fill(text + "".join(alone))
    assert faults == ["it makes 65 tasks, and a chain may have 64"]


def test_a_chain_has_at_most_8_steps_in_a_row_and_16_that_wait_for_one() -> None:
    row = FIRST + "".join(step(f"s{number}", f"s{number - 1}" if number else "a") for number in range(8))
    assert fill(row)[1] == ["step s7: it is the 9th in a row, and a chain may have 8"]
    many = FIRST + "".join(step(f"s{number}", "a", "[0, 1, 2, 3]") for number in range(5))
    assert fill(many)[1] == ["step s4: 20 tasks would wait for each a, and only 16 may"]


def test_what_may_be_a_mistake_is_a_hint_with_its_step() -> None:
    tasks, faults = fill(FIRST.replace('"x"', '"x --draft"') + step("b", "a", "0", 'model = "edit"\nparams = {canvas = '
        '"2048x1024", position = "1024x1024+0+0", prompt = "x"}'))  # fmt: skip
    assert faults == []
    assert [
        it for it in tasks.hints if it.startswith("step b: edit may not be able to follow a: its pictures are drafts")
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 100_000, b"\x00", b"name = '\xe9'"])
def test_a_file_that_is_no_chain_is_one_fault(content: bytes) -> None:
    [fault] = read_chain(content)[1]
    assert isinstance(fault, ChainFault)


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault() -> None:
    assert read_chain(b"\xef\xbb\xbf" + EXTEND.replace("\n", "\r\n").encode())[1] == []
