"""What goes to a public host by plain http can be read on its way: the start and the doctor warn of it."""

import pytest

from receiver.cli.doctor import _check_settings
from receiver.cli.serve import _startup_warnings
from receiver.config import Settings, load_settings, warn_of_plain_http

SECRETS = {"RECEIVER_PROVIDER_KEY": "a-key", "RECEIVER_SECRET_KEYS": "a-secret-key-for-tests-0001"}


def loaded(name: str, url: str) -> Settings:
    return load_settings({**SECRETS, "RECEIVER_PUBLIC_URL": "https://me.example", f"RECEIVER_{name}": url}, None)


@pytest.mark.parametrize("name", ["PROVIDER_URL", "PUBLIC_URL", "SERVER"])
@pytest.mark.parametrize("url", ["http://host.example/x", "http://93.184.216.34/x"])
def test_plain_http_to_a_public_host_is_warned_of_by_the_start_and_by_the_doctor(name: str, url: str) -> None:
    settings = loaded(name, url)
    [warning] = warn_of_plain_http(settings)
    assert warning.problem.startswith(f"{name} is http://, so ")
    assert warning.remedy == f"set RECEIVER_{name} to an https:// URL"
    assert str(warning) in [str(it) for it in _startup_warnings(settings, 8000)]
    assert warning.problem in [it.text for it in _check_settings(settings, None)]


@pytest.mark.parametrize("name", ["PROVIDER_URL", "PUBLIC_URL", "SERVER"])
@pytest.mark.parametrize(
    "url", ["https://host.example/x", "http://127.0.0.1:8000/x", "http://localhost/x", "http://10.1.2.3/x"]
)
def test_https_and_hosts_of_ones_own_are_not_warned_of(name: str, url: str) -> None:
    assert list(warn_of_plain_http(loaded(name, url))) == []
