"""What a model takes, what it refuses and with which of the provider's codes."""

import re
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.errors import RequestRefused
from receiver.providers.models import MODELS, check_params, find_word, param_hints, prompt_of
from receiver.providers.parameters import has_permutations

OUTPAINT = "midjourney_outpaint"
GOOD: dict[str, object] = {"jobId": "6f0b1f6e-2f5c-4a86-9d0e-8f9f5d3f1a10", "imageNo": 0, "scale": 1.5}


def refusal(call: Callable[[], object]) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        call()
    assert caught.value.status == 422
    return caught.value


def test_good_parameters_become_json_in_declared_order() -> None:
    shuffled = {"remixPrompt": "hills", "scale": 2, "imageNo": 3, "jobId": "a-job"}
    assert check_params(OUTPAINT, shuffled) == b'{"jobId":"a-job","imageNo":3,"scale":2.0,"remixPrompt":"hills"}'


def test_the_same_parameters_are_the_same_bytes() -> None:
    """2 and 2.0 are one number, and null is as good as absent: an idempotency key depends on it."""
    assert check_params(OUTPAINT, GOOD | {"scale": 2}) == check_params(
        OUTPAINT, GOOD | {"scale": 2.0, "remixPrompt": None}
    )


@pytest.mark.parametrize(("field", "code"), [("jobId", "004007001"), ("imageNo", "004007002"), ("scale", "004007004")])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_a_missing_parameter_has_the_providers_code(field: str, code: str, how: str) -> None:
    params = {key: value for key, value in GOOD.items() if key != field} | ({field: None} if how == "null" else {})
    refused = refusal(lambda: check_params(OUTPAINT, params))
    assert (refused.code, refused.field) == (code, field)


@pytest.mark.parametrize("blank", ["", "   "])
def test_a_blank_job_id_is_a_missing_one(blank: str) -> None:
    assert refusal(lambda: check_params(OUTPAINT, GOOD | {"jobId": blank})).code == "004007001"


@pytest.mark.parametrize("value", [-1, 4, 10**400, 1.5, float("nan"), float("inf"), "1", True, False, [], {}])
def test_an_image_number_is_an_integer_from_0_to_3_and_nothing_like_it(value: object) -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {"imageNo": value}))
    assert (refused.code, refused.field) == ("004007003", "imageNo")
    assert "JSON number" in str(refused)


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    assert check_params(OUTPAINT, GOOD | {"imageNo": 2.0}) == check_params(OUTPAINT, GOOD | {"imageNo": 2})


@pytest.mark.parametrize(
    "value", [1, 1.0999, 2.0001, 0, -1.5, 10**400, float("nan"), float("inf"), -float("inf"), True, "1.5", [1.5]]
)
def test_a_scale_is_a_number_from_1_1_to_2(value: object) -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {"scale": value}))
    assert (refused.code, refused.field) == ("004007005", "scale")


@pytest.mark.parametrize("value", [1.1, 2, 2.0])
def test_the_ends_of_the_scale_are_allowed(value: float) -> None:
    assert msgspec.json.decode(check_params(OUTPAINT, GOOD | {"scale": value}))["scale"] == value


def test_a_prompt_has_1_to_8192_characters_however_many_bytes_they_take() -> None:
    assert check_params(OUTPAINT, GOOD | {"remixPrompt": "山" * 8192})


@pytest.mark.parametrize("text", ["", "山" * 8193], ids=["none", "too many"])
def test_a_prompt_of_another_length_is_refused(text: str) -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {"remixPrompt": text}))
    assert (refused.code, refused.field) == ("invalid_parameter", "remixPrompt")


@pytest.mark.parametrize("field", ["jobId", "remixPrompt"])
@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b", 7, ["a"]])
def test_text_that_no_store_could_keep_is_refused(field: str, text: object) -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {field: text}))
    assert (refused.code, refused.field) == ("invalid_parameter", field)


def test_the_callback_is_ours_to_set() -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {"callback": "https://example.org/"}))
    assert (refused.code, refused.field) == ("invalid_parameter", "callback")


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("job_id", "jobId"),
        ("imageNumber", "imageNo"),
        ("prompt", "remixPrompt"),
        ("Scale", "scale"),
        ("zzz", "it takes imageNo, jobId, remixPrompt, scale"),
    ],
)
def test_an_unknown_parameter_is_refused_and_the_nearest_one_named(name: str, suggestion: str) -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {name: 1}))
    assert (refused.code, refused.field) == ("invalid_parameter", name)
    assert suggestion in str(refused)


def test_a_refusal_can_be_encoded_and_is_short_whatever_the_parameter_is_called() -> None:
    refused = refusal(lambda: check_params(OUTPAINT, GOOD | {"\ud800" * 100_000: 1}))
    assert len(msgspec.json.encode([str(refused), refused.field])) < 2_000


def test_an_unknown_model_is_refused_with_the_known_ones() -> None:
    refused = refusal(lambda: check_params("midjourney_outpant", GOOD))
    assert (refused.code, refused.field) == ("unknown_model", "model")
    assert OUTPAINT in str(refused)


def test_what_is_missing_is_told_before_what_is_invalid() -> None:
    assert refusal(lambda: check_params(OUTPAINT, {"jobId": 5, "imageNo": 9})).code == "004007004"
    assert refusal(lambda: check_params(OUTPAINT, {"imageNo": 9, "scale": 9, "jobId": "a"})).code == "004007003"


@pytest.mark.parametrize("text", ["a {red, blue} bird", "{a,{b}}", "{{a},b}", "{,}", "}{a,b}"])
def test_permutations_need_permission(text: str) -> None:
    """Each makes several generations behind one submission, and all of them are billed."""
    params = GOOD | {"remixPrompt": text}
    refused = refusal(lambda: check_params(OUTPAINT, params))
    assert refused.field == "remixPrompt"
    assert "allow_permutations" in str(refused)
    assert text in msgspec.json.decode(check_params(OUTPAINT, params, allow_permutations=True)).values()


@pytest.mark.parametrize("text", ["a, b", "{a}, b", "{a", "a,b}", "{a} and {b}", "{ , "])
def test_other_braces_and_commas_are_no_permutation(text: str) -> None:
    assert check_params(OUTPAINT, GOOD | {"remixPrompt": text})


@given(st.text(alphabet="{},a", max_size=40))
def test_a_permutation_is_a_closed_brace_with_a_comma_in_it(text: str) -> None:
    """Checked against the definition itself: some pair of matching braces has a comma directly inside."""
    opened: list[int] = []
    pairs: list[tuple[int, int]] = []
    for at, character in enumerate(text):
        if character == "{":
            opened.append(at)
        elif character == "}" and opened:
            pairs.append((opened.pop(), at))

    def directly(start: int, end: int) -> bool:
        inner = [pair for pair in pairs if start < pair[0] and pair[1] < end]
        commas = [at for at in range(start, end) if text[at] == ","]
        return any(all(not a < at < b for a, b in inner) for at in commas)

    assert has_permutations(text) == any(directly(*pair) for pair in pairs)


def test_hints_tell_a_task_id_from_a_job_id() -> None:
    assert param_hints(OUTPAINT, GOOD) == ()
    assert "task id" in param_hints(OUTPAINT, GOOD | {"jobId": "d758n65e878c73cmdg20"})[0]


def test_prompt_is_what_a_person_typed() -> None:
    assert prompt_of(OUTPAINT, GOOD | {"remixPrompt": "hills"}) == "hills"
    assert prompt_of(OUTPAINT, GOOD) is None
    assert prompt_of("not a model", {"remixPrompt": "hills"}) is None


ODDITIES: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers(-1, 5) | st.floats() | st.text("a{,}\x00\ud800 ", max_size=9) | st.just([])
)


@given(
    st.fixed_dictionaries(
        {"jobId": st.just("a") | ODDITIES, "imageNo": st.just(1) | ODDITIES, "scale": st.just(1.5) | ODDITIES},
        optional={"remixPrompt": ODDITIES, "callback": ODDITIES, "x": ODDITIES},
    )
)
def test_anything_is_either_canonical_or_refused(params: dict[str, object]) -> None:
    try:
        checked = check_params(OUTPAINT, params)
    except RequestRefused:
        return
    assert check_params(OUTPAINT, msgspec.json.decode(checked)) == checked


def test_the_codes_of_every_model_are_the_providers() -> None:
    """Nine digits, or ten that begin with an 8; the sandbox and the advice rely on it."""
    for model in MODELS.values():
        codes = [model.failed_code, model.unavailable_code, model.callback.invalid_code]
        codes += [code for field in model.fields for code in (field.missing_code, field.invalid_code)]
        assert all(re.fullmatch("8?004[0-9]{6}", code) for code in codes if code)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("d758n65e878c73cmdg20", "looks like a task id"),
        ("https://cdn.example/a.png", "is an address"),
        (" HTTP://h/a ", "is an address"),
        ("JOBID", "'JOBID', which stands for one in an example"),
        ("job_id", "in an example"),
        ("YOUR-JOB-ID", "in an example"),
        ("the jobId", "in an example"),
        ("job-id-1", "in an example"),
        ("<jobId>", "in an example"),
        ("$JOB", "in an example"),
        ("…", "in an example"),
        ("xxxx", "in an example"),
    ],
)
def test_a_job_id_that_cannot_be_one_raises_a_hint(value: str, words: str) -> None:
    [hint] = param_hints("midjourney_variation", {"jobId": value, "imageNo": 0, "type": 0})
    assert words in hint


@pytest.mark.parametrize("value", ["a" * 256, "b6e0c4d2-7f0f-4c4e-9a4e-2f6b1c0d9e11", "job-1", "jobless", "x"])
def test_any_other_job_id_raises_none(value: str) -> None:
    assert param_hints("midjourney_variation", {"jobId": value, "imageNo": 0, "type": 0}) == ()


def test_a_choice_is_taken_by_its_word_another_word_for_it_or_its_number_and_shown_as_its_word() -> None:
    params = {"jobId": "j", "imageNo": 0}
    for value in ("standard", "Subtle", 0):
        checked = msgspec.json.decode(check_params("midjourney_upscale", params | {"type": value}))
        assert checked["type"] == 0
    assert find_word("midjourney_upscale", "type", 0) == "standard"
    assert find_word("midjourney_pan", "direction", 3) == "left"
    for model, name, value in [
        ("midjourney_upscale", "type", 9),
        ("midjourney_upscale", "type", True),
        ("midjourney_upscale", "imageNo", 1),
        ("midjourney_upscale", "zoom", 1),
        ("another", "type", 1),
    ]:
        assert find_word(model, name, value) is None
