"""The systemd unit, judged by systemd's own tools; no systemd need be running."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "systemd" / "receiver.service"
EXPOSURE_MOST = 12  # tenths, as --threshold counts; 96 is a unit without a sandbox

installed = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")


def analyze(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=60)


@installed
def test_the_unit_has_nothing_to_complain_of_but_a_program_that_is_not_installed() -> None:
    """Complaints about this machine's other units are not ours."""
    told = analyze("verify", str(UNIT))
    ours = [line for line in (told.stdout + told.stderr).splitlines() if UNIT.name in line]
    program = "/opt/receiver/.venv/bin/receiver"
    missing = f"{UNIT.name}: Command {program} is not executable: No such file or directory"
    assert set(ours) <= {missing}
    assert ours or Path(program).exists()  # else it was not read at all


@installed
def test_the_sandbox_stays_as_tight_as_it_is() -> None:
    told = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MOST}", str(UNIT))
    assert told.returncode == 0, told.stdout + told.stderr


def test_settings_with_secrets_reach_the_service_as_credentials() -> None:
    """Its user is made anew at each start: a file that it could read by itself would be everybody's to read."""
    unit = UNIT.read_text()
    assert "LoadCredential=receiver.toml:/etc/receiver/receiver.toml\n" in unit
    assert "serve --config %d/receiver.toml\n" in unit
