"""Midjourney's models as the provider serves them, one declaration each.

Ranges and codes are from the provider's page on each model (doc.vtrix.ai/docs/api/midjourney), read in 2026-11.
To add a model, declare it here and add it to `MODELS`.
"""

from receiver.providers.parameters import IntegerParam, Model, NumberParam, TextParam, UrlParam

PREFIX = "midjourney_"

OUTPAINT = Model(
    name=f"{PREFIX}outpaint",
    fields=(
        # The provider states no maximum; 256 is our own bound.
        TextParam(name="jobId", required=True, missing_code="004007001", most=256, job_id=True),
        IntegerParam(
            name="imageNo", required=True, missing_code="004007002", invalid_code="004007003", least=0, most=3
        ),
        NumberParam(
            name="scale", required=True, missing_code="004007004", invalid_code="004007005", least=1.1, most=2.0
        ),
        TextParam(name="remixPrompt", most=8192, prompt=True),
    ),
    callback=UrlParam(name="callback", invalid_code="004007006"),
    failed_code="004007098",
    unavailable_code="004007099",
)

MODELS = (OUTPAINT,)
