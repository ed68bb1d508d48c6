"""The batch scripts of a job and of an array, and the commands that submit them: pure functions, so that all can be
looked at as text.
"""

import base64
import hashlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from capillary.places.job import LOG_FILE
from capillary.places.slurm.config import SlurmProfile

SCRIPT_FILE = "job.sh"
NO_ROOM = 28  # the exit code of a script whose node cannot hold what it brings along
ROOM = "$SLURM_TMPDIR, $TMPDIR or /tmp"
_MIB = 1 << 20


def job_name(fingerprint: str) -> str:
    """The name under which a job is found again: `capillary-4f0c…`."""
    return f"capillary-{fingerprint[:16]}"


def array_name(fingerprints: Sequence[str]) -> str:
    """The name under which an array is found again: it follows from the fingerprints of its tasks, in their order."""
    return job_name(hashlib.sha256("\n".join(fingerprints).encode()).hexdigest())


def batch_script(profile: SlurmProfile, name: str, python: str, folder: Path) -> str:
    """The script of the job in `folder`. `exec`: Slurm's signal to the batch shell reaches the program itself."""
    return f"{_head(profile, name)}{shlex.join([*_command(python), str(folder)])}\n"


def array_script(profile: SlurmProfile, name: str, python: str, folders: Sequence[Path]) -> str:
    """The script of an array: task 0 works in the first of `folders`, and so on, each with the log in its own."""
    listed = "\n".join(shlex.quote(str(folder)) for folder in folders)
    return (
        f"{_head(profile, name)}"
        f"folders=(\n{listed}\n)\n"
        'folder="${folders[$SLURM_ARRAY_TASK_ID]}"\n'
        f'exec >>"$folder/{LOG_FILE}" 2>&1\n'
        f'{shlex.join(_command(python))} "$folder"\n'
    )


def apart_script(profile: SlurmProfile, name: str, python: str, bundle: bytes) -> str:
    """The script of a job whose node sees nothing of the head's disk: it unpacks what it brings along and works there.

    Its log is in the same folder, since nobody could read one elsewhere.
    """
    encoded = base64.encodebytes(bundle).decode()
    return (
        f"{_head(profile, name)}"
        f'work=$(mktemp -d "${{SLURM_TMPDIR:-${{TMPDIR:-/tmp}}}}/capillary-XXXXXXXX") || exit {NO_ROOM}\n'
        f'base64 -d <<\'END\' | tar -xzf - -C "$work" || {{ rm -rf "$work"; exit {NO_ROOM}; }}\n{encoded}END\n'
        f'exec >>"$work/job/{LOG_FILE}" 2>&1\n'
        'export PYTHONPATH="$work/code"\n'
        f'{shlex.join(["exec", python, "-P", "-m", "capillary.places.apart.node"])} "$work"\n'
    )


def _head(profile: SlurmProfile, name: str) -> str:
    return "#!/bin/bash\n" + "".join(f"#SBATCH {option}\n" for option in options(profile, name))


def _command(python: str) -> list[str]:
    return ["exec", python, "-P", "-m", "capillary.places.slurm.node"]


def options(profile: SlurmProfile, name: str) -> Iterator[str]:
    """Options of sbatch, one per line of the script."""
    yield f"--job-name={name}"
    given = {"partition": profile.partition, "account": profile.account, "qos": profile.qos}
    yield from (f"--{key}={value}" for key, value in given.items() if value is not None)
    yield f"--time={profile.time}"
    yield f"--nodes={profile.nodes}"
    yield f"--ntasks={profile.nodes}"
    if profile.nodes > 1:
        yield "--ntasks-per-node=1"
    yield f"--cpus-per-task={profile.cpus}"
    yield f"--mem={max(1, int(profile.memory_gb * 10**9 / _MIB))}M"
    if profile.gpus:
        kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
        yield f"--gres=gpu:{kind}{profile.gpus}"
    yield f"--signal=B:TERM@{profile.warn_s}"
    yield "--requeue"
    yield "--open-mode=append"
    yield from profile.extra


def step_argv(nodes: int, cpus: int, command: Sequence[str]) -> list[str]:
    """The command that runs `command` once on every node of a job but the first, which runs the batch script."""
    others = nodes - 1
    return [
        *("srun", "--relative=1", f"--nodes={others}", f"--ntasks={others}", "--ntasks-per-node=1"),
        f"--cpus-per-task={cpus}",  # not inherited from the job since Slurm 22.05
        "--kill-on-bad-exit=0",  # those that are left notice by themselves, and say why they end
        *command,
    ]


def submit_argv(folder: Path, exported: Sequence[str]) -> list[str]:
    """The command that submits the script in `folder`. Variables go by name: no value is in a command line."""
    log = str(folder / LOG_FILE).replace("%", "%%")  # which begins a pattern in names of files
    return [*_sbatch(exported), f"--output={log}", f"--chdir={folder}", str(folder / SCRIPT_FILE)]


def submit_apart_argv(script: Path, exported: Sequence[str]) -> list[str]:
    """The command that submits the `script` of a job whose node sees no folder of the head."""
    return [*_sbatch(exported), "--output=/dev/null", "--chdir=/", str(script)]


def submit_array_argv(folders: Sequence[Path], exported: Sequence[str], most: int) -> list[str]:
    """The command that submits the script in the first of `folders` as one task per folder, `most` at once.

    The script itself chooses the log of each task, whose name no pattern of sbatch can give.
    """
    tasks = f"--array=0-{len(folders) - 1}" + (f"%{most}" if most < len(folders) else "")
    places = ["--output=/dev/null", f"--chdir={folders[0].parent}"]
    return [*_sbatch(exported), tasks, *places, str(folders[0] / SCRIPT_FILE)]


def _sbatch(exported: Sequence[str]) -> list[str]:
    return ["sbatch", "--parsable", f"--export={','.join(exported) or 'NIL'}"]


def submit_environment(variables: dict[str, str]) -> dict[str, str]:
    """`variables` of this process for sbatch, without those of a job in which the head itself may run."""
    inherited = {name for name in variables if name.startswith("SLURM_") and name != "SLURM_CONF"}
    return {name: value for name, value in variables.items() if name not in inherited}
