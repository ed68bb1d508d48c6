"""What a GPU does for capillary, in one command of at most eight minutes: for a machine that is lent for a short time.

    python benchmarks/gpu.py [--minutes M] [--only SECTION …] [--small] [--out FILE]

Each section runs in its own process, so that one that fails or runs out of memory costs no other. What is known is
written to FILE (JSON) after each of them, and printed as a table for docs/benchmarks.md at the end:

    machine     GPU, memory, driver, CUDA, torch
    probe       a step in float32, in the half type, channels last, compiled; how many patches fit at a time
    training    the train stage against the loop of MONAI's tutorials (training.py): step, epoch, loading, GPU busy, DSC
    predict     a stack of 110×512×512 against MONAI's sliding window in float32 and under autocast
    processes   one training on each GPU alone and on all of them (NCCL; gloo if there is no GPU)
    resume      a training that was asked to stop and went on, against one that was not

`--small` rehearses all of it on little of everything. Nothing but torch with CUDA and this repository's packages is
needed; data are the phantom's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gpu_sections import LEFT_OUT, REPOSITORY, SECTIONS, make_setting
from benchmarks.training import TARGETS, prepared

LEAST_S = 20.0  # a section for which less time is left is not begun
FAILED = "failed"
AIMS = {"step": "≥ 3", "busy": "≥ 0.9", "loading": TARGETS["loading"]}


def measure(names: Sequence[str], minutes: float, *, small: bool, out: Path | None) -> dict[str, Any]:
    """The report of the sections `names`; one that fails, or for which no time is left, says so in its place."""
    deadline = time.monotonic() + 60 * minutes
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        prepared(Path(name), REPOSITORY / "samples" / "phantom")
        for section in names:
            left_s = deadline - time.monotonic()
            report[section] = (
                {LEFT_OUT: "no time was left"} if left_s < LEAST_S else _in_own_process(section, name, left_s, small)
            )
            if out is not None:
                out.write_text(json.dumps(report, indent=2) + "\n")
    return report


def _in_own_process(section: str, folder: str, left_s: float, small: bool) -> dict[str, Any]:
    argv = [sys.executable, str(Path(__file__).resolve()), "--section", section, "--folder", folder]
    try:
        done = subprocess.run(
            [*argv, *["--small"] * small], stdout=subprocess.PIPE, text=True, check=True, timeout=left_s
        )
    except subprocess.TimeoutExpired:
        return {FAILED: f"it took more than the {left_s:.0f} s that were left"}
    except subprocess.CalledProcessError as error:
        return {FAILED: f"it ended with {error.returncode}; its messages are above"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(report: dict[str, Any]) -> str:
    """`report` for docs/benchmarks.md."""
    ratios = report.get("training", {}).get("ratios", {})
    busy = report.get("training", {}).get("gpu_busy")
    rows = [("training: plain MONAI / ours, a step", ratios.get("step"), AIMS["step"])]
    rows += [("training: GPU busy", busy, AIMS["busy"]), ("training: loading", ratios.get("loading"), AIMS["loading"])]
    rows += [(f"probe: {name}, ms", value, "") for name, value in report.get("probe", {}).get("step_ms", {}).items()]
    rows += [("probe: patches that fit", report.get("probe", {}).get("patches_that_fit"), "")]
    rows += [
        (f"predict: {name} / ours", value, "") for name, value in report.get("predict", {}).get("ratios", {}).items()
    ]
    rows += [("processes: one / all, an epoch", report.get("processes", {}).get("ratio"), "")]
    rows += [("resume: the same weights", report.get("resume", {}).get("same_weights"), "")]
    lines = [f"| {what} | {'not measured' if value is None else value} | {aim} |" for what, value, aim in rows]
    gaps = [f"{name}: {why}" for name, part in report.items() for key, why in part.items() if key in (FAILED, LEFT_OUT)]
    return "\n".join(["| what | figure | aim |", "|---|---|---|", *lines, *gaps])


def main() -> None:
    """Measure all sections, or be the process of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="what all of it may take")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--small", action="store_true", help="a rehearsal")
    parser.add_argument("--out", type=Path, help="a JSON file")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.section:
        setting = make_setting(arguments.folder, small=arguments.small)
        print(json.dumps(SECTIONS[arguments.section](setting)))
        return
    print(table(measure(arguments.only, arguments.minutes, small=arguments.small, out=arguments.out)))


if __name__ == "__main__":
    main()
