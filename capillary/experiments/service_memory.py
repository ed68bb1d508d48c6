"""What each compose service may take of this machine's memory: a share of it, in .env, where no variable says it.

Compose cannot compute. A value that only `capillary up` had would differ from that of the next `docker compose run`,
which would then start MLflow anew; so both read .env. Without it the limits in docker-compose.yml hold.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from capillary.remote.writing import write_variables
from capillary.settings import Settings
from stages.common.errors import CapillaryError
from stages.common.program.messages import get_logger

log = get_logger(__name__)

MIB = 1 << 20
_ASK = ("docker", "info", "--format", "{{.MemTotal}}")
_ASK_S = 20


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share `of_machine`, but at least what the program needs, and at most what it can use."""

    of_machine: float
    least_mib: int
    most_mib: int


SHARES = {
    "CAPILLARY_RUNNER_MEMORY": Share(of_machine=1 / 8, least_mib=1024, most_mib=16 * 1024),
    "CAPILLARY_MLFLOW_MEMORY": Share(of_machine=1 / 16, least_mib=1024, most_mib=8 * 1024),
    "CAPILLARY_POSTGRES_MEMORY": Share(of_machine=1 / 32, least_mib=512, most_mib=4 * 1024),
    "CAPILLARY_S3_MEMORY": Share(of_machine=1 / 32, least_mib=512, most_mib=4 * 1024),
    "CAPILLARY_SERVE_MEMORY": Share(of_machine=1 / 4, least_mib=2 * 1024, most_mib=32 * 1024),
    "CAPILLARY_MONITORING_MEMORY": Share(of_machine=1 / 32, least_mib=512, most_mib=4 * 1024),
    "CAPILLARY_LINEAGE_MEMORY": Share(of_machine=1 / 32, least_mib=512, most_mib=4 * 1024),
}


def settle_memory(root: Path, settings: Settings) -> None:
    """Write this machine's shares to `root`/.env, for the variables that are not set. A failure costs no service."""
    if all(settings.variables.get(name) for name in SHARES):
        return
    machine_bytes = _machine_bytes()
    if machine_bytes is None:
        return
    values = memory_variables(machine_bytes, settings.variables)
    try:
        write_variables(root, values)
    except (CapillaryError, OSError) as error:
        log.info(f".env cannot be written ({error}); the services have the memory limits of docker-compose.yml")
        return
    log.info(
        f"memory limits of the services, shares of this machine's {machine_bytes / 1e9:.0f} GB, are in .env: "
        + ", ".join(f"{name}={value}" for name, value in values.items())
    )


def memory_variables(machine_bytes: int, given: Mapping[str, str]) -> dict[str, str]:
    """Variable → limit as Compose reads it, of a machine with `machine_bytes`, for what is not `given`."""
    return {name: f"{_mib(share, machine_bytes)}m" for name, share in SHARES.items() if not given.get(name)}


def _mib(share: Share, machine_bytes: int) -> int:
    return min(max(int(machine_bytes * share.of_machine) // MIB, share.least_mib), share.most_mib)


def _machine_bytes() -> int | None:
    """The memory of the daemon's machine (of the VM of Docker Desktop); None if it does not tell."""
    try:
        done = subprocess.run(_ASK, check=False, capture_output=True, text=True, timeout=_ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.strip()
    return int(said) if done.returncode == 0 and said.isdecimal() and int(said) else None
