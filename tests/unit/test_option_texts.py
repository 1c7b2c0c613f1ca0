"""Faults on the command line name options only, whatever a parameter is called on the wire."""

from collections.abc import Mapping

import pytest

from receiver.cli.submit.option_texts import explain_in_options
from receiver.core.errors import RequestRefused
from receiver.providers import models


@pytest.mark.parametrize(
    ("model", "params", "text"),
    [
        (
            "midjourney_outpaint",
            {"zoom": 1},
            "midjourney_outpaint has no parameter 'zoom'; it takes --image-no, --job-id, --prompt, --scale",
        ),
        ("midjourney_outpaint", {"scal": 1}, "midjourney_outpaint has no parameter 'scal' (did you mean --scale?)"),
        (
            "midjourney_pan",
            {"jobId": "j", "imageNo": 0, "direction": 0},
            "--scale is missing: Midjourney's own API requires that, and the provider's pages do not say; "
            "to send it all the same, say --anyway",
        ),
        ("midjourney_remix", {"jobId": "j", "imageNo": 9}, "--prompt is missing"),
    ],
)
def test_a_fault_names_options(model: str, params: Mapping[str, object], text: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        models.check_params(model, params)
    assert explain_in_options(caught.value, models.find_model(model)) == text
