"""Midjourney's operations as the provider serves them, one declaration each.

Ranges and codes are from the provider's page of each model (doc.vtrix.ai/docs/api/midjourney), read in 2026-11.
To add a model, declare it and add it to `MODELS`; nothing else needs to know.
"""

from receiver.providers.parameters import IntegerParam, Model, NumberParam, TextParam, UrlParam

OUTPAINT = Model(
    name="midjourney_outpaint",
    fields=(
        # The provider states no longest job id; 256 is ours, so that none is without bound.
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
