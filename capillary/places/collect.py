"""After a job has ended: its outs are checked and published, and its folder is removed."""

from collections.abc import Callable
from pathlib import Path

from capillary.places.held import remove
from capillary.places.outcome import OUTS, Ended
from capillary.planning.plan import StagePlan
from capillary.publishing.publish import check_scratch
from stages.common.errors import CapillaryError, MachineError


def collect(plan: StagePlan, folder: Path, ended: Ended, publish: Callable[[Path], None]) -> int:
    """Let `publish` take the outs of a job that ended well; returns its exit code.

    The folder stays when the outs cannot be published, so that the next run does not compute them again.
    """
    if ended.code == 0:
        outs = folder / OUTS
        if plan.outs and not outs.is_dir():
            raise _without_outs(plan.address, ended.node, outs)
        if outs.is_dir():
            check_scratch(outs, plan.outs, (), plan.address)
            publish(outs)
    remove(folder)
    return ended.code


def _without_outs(address: str, node: str, outs: Path) -> CapillaryError:
    return MachineError(
        f"the job of {address} succeeded on {node}, but its outs did not arrive here",
        file=outs,
        remedy="check that the node and this machine share the project's folder; then remove the folder of the job and "
        "repeat the command",
    )
