"""Settings that are refused: in one line, which never shows the secret that was planted in them."""

from pathlib import Path

import pytest

from receiver.config import load_settings
from receiver.core.errors import SettingsError

SENTINEL = "s3ntinel-Never-Shown-0123456789"


def refused(env: dict[str, str] | None = None, toml: str | None = None) -> str:
    """The one line with which these settings are refused; it must not show the sentinel."""
    file = None
    if toml is not None:
        file = Path("given.toml")
        file.write_text(toml)
    with pytest.raises(SettingsError) as caught:
        load_settings(env or {}, file)
    text = str(caught.value)
    assert "\n" not in text
    assert SENTINEL not in text
    assert caught.value.__cause__ is None  # a cause would carry the value into a traceback
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return text
