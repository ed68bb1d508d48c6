"""A stage's run as a command of Apptainer: pure functions from the plan to its words and its environment."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from capillary.executors.container.scratch import work_folder
from capillary.executors.container.spec import INSIDE, Bind, environment_of
from capillary.planning.plan import StagePlan

PROGRAM = "apptainer"
# Apptainer hands these on without the prefix; on a command line everybody could read them
PREFIX = "APPTAINERENV_"


def exec_argv(plan: StagePlan, image: Path, binds: Iterable[Bind], *, with_gpu: bool) -> list[str]:
    """The command that runs `plan` in `image`, isolated as in a container of Docker.

    No network where the plan needs none; no home, no environment and no files but those of the image and `binds`.
    """
    mounts = [word for bind in binds for word in ("--mount", mount_text(bind))]
    network = [] if plan.needs_network else ["--net", "--network", "none"]
    gpu = ["--nv"] if with_gpu else []
    isolation = ["--containall", "--cleanenv", "--no-home", "--no-privs"]
    inner = ["python", "-P", INSIDE, f"stages.{plan.stage}", *plan.argv]
    return [PROGRAM, "exec", *isolation, *network, *gpu, *mounts, "--pwd", str(work_folder(plan)), str(image), *inner]


def mount_text(bind: Bind) -> str:
    """`bind` for --mount, whose fields are quoted as in CSV: a path may hold commas and colons."""
    fields = ["type=bind", f"source={bind.source}", f"destination={bind.target}"]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([*fields, *([] if bind.writable else ["ro"])])
    return text.getvalue()


def exec_environment(plan: StagePlan, own: Mapping[str, str]) -> dict[str, str]:
    """The environment of the command: `own` is what Apptainer needs itself. It holds no secret of the stage."""
    return {**own, **{f"{PREFIX}{name}": value for name, value in environment_of(plan).items()}}
