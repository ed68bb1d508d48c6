"""The process executor: a plan run as a plain process in a sandbox folder, for machines without a daemon."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict
from types import FrameType

from capillary.launcher import caller, guard
from capillary.launcher.plan import StagePlan
from capillary.launcher.sandbox import Sandbox, publish, sandbox


def execute(plan: StagePlan) -> int:
    """Run `plan`; publish its outs when it ends with 0. Returns the stage's exit code."""
    for folder in plan.writable:
        folder.mkdir(parents=True, exist_ok=True)
    with sandbox(plan) as box:
        code = _run(plan, box)
        if code == 0:
            publish(plan, box)
        return code


def _run(plan: StagePlan, box: Sandbox) -> int:
    policy_file = box.base / "policy.json"
    policy_file.write_text(json.dumps(asdict(policy_of(plan, box))))
    argv = [sys.executable, "-P", guard.__file__, str(policy_file), f"stages.{plan.stage}", *plan.argv]
    process = subprocess.Popen(  # no shell: argv is the plan's
        argv, cwd=box.work, env=environment_of(plan, box), stdin=subprocess.DEVNULL, process_group=0
    )
    with _signals_forwarded(process, plan.grace_s):
        code = process.wait()
    return 128 - code if code < 0 else code


def policy_of(plan: StagePlan, box: Sandbox) -> guard.Policy:
    """What the guard lets this run touch."""
    interpreter = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    deps = [str(dep.host) for dep in plan.deps if dep.host is not None]
    return guard.Policy(
        address=plan.address,
        launcher_pid=os.getpid(),
        network=plan.access.network,
        work=str(box.work),
        forbidden=tuple(dict.fromkeys((str(plan.root), str(plan.repository)))),
        readable=(str(box.base), *sorted(interpreter), *deps, *(os.path.realpath(dep) for dep in deps)),
        writable=(str(box.tmp), *map(str, plan.writable)),
        outs=tuple(str(box.work / out) for out in plan.outs),
        record=str(box.base / "refused.txt"),
    )


def environment_of(plan: StagePlan, box: Sandbox) -> dict[str, str]:
    """The stage's whole environment: the plan's variables, and its own folders for code, caches and temporary files."""
    return {
        **plan.environment,
        "PYTHONPATH": str(box.work),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(box.tmp),
        "XDG_CACHE_HOME": str(box.tmp),
        "MPLCONFIGDIR": str(box.tmp),
        "OMP_NUM_THREADS": plan.environment["CAPILLARY_THREADS"],
    }


@contextlib.contextmanager
def _signals_forwarded(process: subprocess.Popen[bytes], grace_s: float) -> Iterator[None]:
    """Pass SIGINT, SIGTERM and SIGHUP on to the stage, which checkpoints and ends; kill it when it takes too long.

    The stage has a process group of its own, so a Ctrl-C reaches it once, through here. When DVC is gone, however it
    ended, the stage is ended too: a second training of the same cell must find the place free.
    """

    def stop(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        signal.setitimer(signal.ITIMER_REAL, grace_s)

    def forward(number: int, _frame: FrameType | None) -> None:
        stop(number)

    def kill(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), forward) | {signal.SIGALRM: kill}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if called_by := caller.find_caller():
        caller.watch(called_by, on_gone=lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in former.items():
            signal.signal(number, handler)
