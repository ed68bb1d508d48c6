"""The batch script of a job and the command that submits it: pure functions, so that both can be looked at as text."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from capillary.places.job import LOG_FILE
from capillary.places.slurm.config import SlurmProfile

SCRIPT_FILE = "job.sh"
_MIB = 1 << 20


def job_name(fingerprint: str) -> str:
    """The name under which a job is found again: `capillary-4f0c…`."""
    return f"capillary-{fingerprint[:16]}"


def batch_script(profile: SlurmProfile, name: str, python: str, folder: Path) -> str:
    """The script of the job in `folder`. `exec`: Slurm's signal to the batch shell reaches the program itself."""
    head = "\n".join(f"#SBATCH {option}" for option in options(profile, name))
    command = shlex.join(["exec", python, "-P", "-m", "capillary.places.slurm.node", str(folder)])
    return f"#!/bin/bash\n{head}\n{command}\n"


def options(profile: SlurmProfile, name: str) -> Iterator[str]:
    """Options of sbatch, one per line of the script."""
    yield f"--job-name={name}"
    given = {"partition": profile.partition, "account": profile.account, "qos": profile.qos}
    yield from (f"--{key}={value}" for key, value in given.items() if value is not None)
    yield f"--time={profile.time}"
    yield "--nodes=1"
    yield "--ntasks=1"
    yield f"--cpus-per-task={profile.cpus}"
    yield f"--mem={max(1, int(profile.memory_gb * 10**9 / _MIB))}M"
    if profile.gpus:
        kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
        yield f"--gres=gpu:{kind}{profile.gpus}"
    yield f"--signal=B:TERM@{profile.warn_s}"
    yield "--requeue"
    yield "--open-mode=append"
    yield from profile.extra


def submit_argv(folder: Path, exported: Sequence[str]) -> list[str]:
    """The command that submits the script in `folder`. Variables go by name: no value is in a command line."""
    log = str(folder / LOG_FILE).replace("%", "%%")  # which begins a pattern in names of files
    names = ",".join(exported) or "NIL"
    places = [f"--output={log}", f"--chdir={folder}"]
    return ["sbatch", "--parsable", f"--export={names}", *places, str(folder / SCRIPT_FILE)]


def submit_environment(variables: dict[str, str]) -> dict[str, str]:
    """`variables` of this process for sbatch, without those of a job in which the head itself may run."""
    inherited = {name for name in variables if name.startswith("SLURM_") and name != "SLURM_CONF"}
    return {name: value for name, value in variables.items() if name not in inherited}
