"""The one list of checks: which there are, in the order in which a report shows them, and where each is made."""

import enum
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stages.common.preflight.check import Check, Report, report_of


class Where(enum.Flag):
    """`capillary preflight` checks the project and this machine; the gate the one that trains, right before."""

    COMMAND = enum.auto()
    GATE = enum.auto()


_COMMAND, _BOTH = Where.COMMAND, Where.COMMAND | Where.GATE


@dataclass(frozen=True, kw_only=True)
class CheckGroup:
    """Checks that are made together. Their `names` are those in a report; … stands for what differs."""

    key: str
    names: Mapping[str, Where]

    @property
    def where(self) -> Where:
        """Wherever any of them is made."""
        return functools.reduce(operator.or_, self.names.values())


# named as in docs/preflight.md
CHECKS = (
    CheckGroup(key="git", names={"git": _COMMAND}),
    CheckGroup(key="params", names={"params": _COMMAND, "settings": _COMMAND}),
    CheckGroup(key="data", names={"data": _COMMAND}),
    CheckGroup(key="inputs", names={"source": _COMMAND, "folds": _COMMAND, "network": _COMMAND}),
    CheckGroup(
        key="docker",
        names={"docker": _COMMAND, "images": _COMMAND, "shared memory of train": _COMMAND, "memory of train": _COMMAND},
    ),
    CheckGroup(
        key="gpu",
        names={"gpu": _BOTH, "gpu memory": _BOTH, "gpu driver": _BOTH, "docker gpu": _COMMAND, "nodes": _COMMAND},
    ),
    CheckGroup(key="memory", names={"ram": _BOTH, "shared memory": _BOTH, "swap": _BOTH}),
    CheckGroup(
        key="disks",
        names={
            "disk of workspace": _BOTH,
            "disk of runs": _BOTH,
            "disk of cache": _COMMAND,
            "disk of checkpoints": _COMMAND,
            "disk of docker": _COMMAND,
        },
    ),
    CheckGroup(key="ports", names={"port …": _COMMAND}),
    CheckGroup(key="packages", names={"packages": _BOTH}),
    CheckGroup(key="servers", names={"mlflow": _BOTH, "package for …": _BOTH, "s3": _BOTH, "service …": _BOTH}),
    CheckGroup(key="named services", names={"service NAME": _COMMAND}),
    CheckGroup(key="environment", names={"environment of …": _BOTH}),
    CheckGroup(key="clock", names={"clock": _BOTH}),
)


def make_checks(where: Where, makers: Mapping[str, Callable[[], Iterable[Check]]]) -> Report:
    """The report of what is made at `where`: the listed groups in their order, each by its maker in `makers`."""
    return report_of(*(makers[group.key]() for group in CHECKS if where in group.where))
