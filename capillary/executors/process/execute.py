"""The process executor: a plan run as a plain process in a sandbox folder, for machines without a daemon."""

import json
import os
import platform
import shlex
import signal
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from capillary.compute.hardware import find_hardware
from capillary.executors.process.guard import Policy
from capillary.executors.sandbox import GUARD, GUARD_MODULE, Sandbox, links_of, sandbox
from capillary.lifetimes.leash import kill_group, leash
from capillary.lifetimes.orphans import no_orphans
from capillary.lifetimes.stop import Stop, tell_of_kill
from capillary.planning.access import StageAccess
from capillary.planning.plan import StagePlan
from capillary.publishing.publish import check_scratch
from capillary.settings import Settings
from stages.common.machine.gpus import Gpu
from stages.common.machine.limits import Limits, find_limits
from stages.common.program.messages import get_logger

log = get_logger(__name__)

# where systems keep programs, libraries, certificates, devices and their own state; data lives elsewhere
SYSTEM_FOLDERS = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/proc", "/sys", "/dev", "/var", "/nix"),
    *("/snap", "/System", "/Library", "/Applications", "/private/etc", "/private/var"),
)


def environment_id(_repository: Path, _stage: str, _access: StageAccess) -> list[str]:
    """What the packages that stages see are known by: this interpreter."""
    return [platform.python_version(), platform.machine()]


def gpus(settings: Settings) -> tuple[Gpu, ...]:
    """The GPUs that a process started here sees, of those that the user allows."""
    return find_hardware(settings).gpus


def limits() -> Limits:
    """Those of this process, which stages inherit."""
    return find_limits()


def execute(plan: StagePlan, stop: Stop, publish: Callable[[Path], None]) -> int:
    """Run `plan`; when it ends with 0, `publish` takes the outs from the folder that it is given.

    Returns the stage's exit code, or that of the request to stop.
    """
    _warn_root(plan)
    for folder in plan.writable:
        folder.mkdir(parents=True, exist_ok=True)
    with sandbox(plan) as box:
        code = _run(plan, box, stop)
        if code == 0:
            check_scratch(box.work, plan.outs, links_of(plan.deps, box.work).keys(), plan.address)
            publish(box.work)
        return code or stop.exit_code


def _run(plan: StagePlan, box: Sandbox, stop: Stop) -> int:
    if stop.asked is not None:
        return stop.exit_code
    policy_file = box.base / "policy.json"
    policy_file.write_text(json.dumps(asdict(policy_of(plan, box))))
    argv = [sys.executable, "-P", "-m", GUARD_MODULE, str(policy_file), f"stages.{plan.stage}", *plan.argv]
    log.debug(f"{plan.address}: starts in {box.work} as a plain process: {shlex.join(argv[5:])}")
    with leash() as tie, no_orphans():  # what the stage left running could still write
        process = subprocess.Popen(  # no shell: argv is the plan's
            argv, cwd=box.work, env=environment_of(plan, box), stdin=subprocess.DEVNULL, process_group=0
        )
        tie(process.pid)
        # a request goes to the stage alone, which knows its workers and ends them when it is ready
        with stop.passed_on(process.send_signal, lambda: kill_group(process.pid), plan.grace_s):
            code = process.wait()
        kill_group(process.pid)
    if code >= 0:
        return code
    _tell_of_signal(plan, -code, stop)
    return stop.exit_code or 128 - code


def _warn_root(plan: StagePlan) -> None:
    """Say once in a run of root's what the guard is not."""
    if os.geteuid() != 0:
        return
    from capillary.lifetimes.caller import first_in_run  # for root alone

    if first_in_run(plan.repository, "root"):
        log.info(
            "note: stages run as plain processes of root: the guard finds mistakes, but cannot restrain root; "
            "use containers (CAPILLARY_EXECUTOR=docker) or another user for isolation (docs/security.md)"
        )


def _tell_of_signal(plan: StagePlan, number: int, stop: Stop) -> None:
    if stop.killed:
        text = tell_of_kill(plan.grace_s)
    elif stop.asked is None:
        hint = "; the machine may have run out of memory (see dmesg)" if number == signal.SIGKILL else ""
        text = f"was ended by {signal.Signals(number).name}{hint}"
    else:
        return
    sys.stderr.write(f"{plan.address} {text}\n")


def policy_of(plan: StagePlan, box: Sandbox) -> Policy:
    """What the guard lets this run touch."""
    project = _both_names((plan.root, plan.repository))
    interpreter = [sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), site.getusersitepackages()]
    packages = [folder for folder in sys.path if not Path(folder).is_relative_to(plan.repository)]
    # such as certificates and credentials
    environment = {**plan.user_environment, **plan.environment}
    settings = [value for value in environment.values() if Path(value).is_absolute() and Path(value).is_file()]
    # a traceback shows lines of the guard, and a stage that fails reads them: its own source is nobody's secret
    deps: list[Path] = [GUARD, *(dep.host for dep in plan.deps if dep.host is not None)]
    return Policy(
        address=plan.address,
        launcher_pid=os.getpid(),
        network=plan.access.network if plan.needs_network else "none",
        base=str(box.base),
        work=str(box.work),
        home=str(Path.home()),
        forbidden=project,
        readable=(*SYSTEM_FOLDERS, *_both_names((*interpreter, *packages, *settings, *deps, plan.cache_dir))),
        writable=_both_names((box.tmp, *plan.writable)),
        outs=tuple(os.path.normpath(box.work / out) for out in plan.outs),
        record=str(box.base / "refused.jsonl"),
    )


def _both_names(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Each path as it is written and as it really lies."""
    both = (name for path in paths for name in (Path(path).absolute(), Path(path).resolve()))
    return tuple(dict.fromkeys(os.path.normpath(name) for name in both))


def environment_of(plan: StagePlan, box: Sandbox) -> dict[str, str]:
    """The stage's whole environment: addresses and secrets, and its own folders for code, caches and other files."""
    return {
        **plan.user_environment,
        **plan.environment,
        "PYTHONPATH": os.pathsep.join([str(box.base / "guard"), str(box.work)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(box.tmp),
        "XDG_CACHE_HOME": str(box.tmp),
        "MPLCONFIGDIR": str(box.tmp),
        **plan.thread_variables,
    }
