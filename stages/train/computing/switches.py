"""How a training uses its device beyond the arithmetic: patches at a time, memory format, compilation.

On a CPU nothing is timed, so that two fresh runs compute alike and start at once: the whole batch at a time, unless a
micro-batch is asked for, and channels last if the gradients are right (probe.py). On a GPU, where equal weights are not
promised anyway, a probe of a few steps takes each switch only when it is faster by a clear margin and its gradients are
right. What was decided is kept in the checkpoint, so that a resumed training computes as it began.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from stages.common.layout import lay_out_channels_last
from stages.common.program.messages import get_logger
from stages.common.runtime import Compute
from stages.common.text import counted

log = get_logger(__name__)

MARGIN = 0.1  # a switch has to save this share of a step: less is noise, and not worth its risk


@dataclass(frozen=True, kw_only=True)
class Switches:
    """`micro_batch` is how many patches go through the network at a time, None: all that a process has of a batch.

    `processes` is how many share a batch.
    """

    micro_batch: int | None = None
    processes: int = 1
    channels_last: bool = False
    compiled: bool = False

    def apply(self, network: torch.nn.Module) -> None:
        """Set up `network` in place; its parameters keep their names and values."""
        if self.channels_last:
            lay_out_channels_last(network)
        if self.compiled:
            network.compile()

    def describe(self) -> str:
        """For the log and the run's record."""
        size = "the whole batch" if self.micro_batch is None else counted(self.micro_batch, "patch", "patches")
        shared = [f"{self.processes} processes share it"] * (self.processes > 1)
        return ", ".join(
            [f"{size} at a time", *shared, *["channels last"] * self.channels_last, *["compiled"] * self.compiled]
        )


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to compute a step that may be measured: `half` stands for the half type that the precision allows."""

    half: bool = False
    channels_last: bool = False
    compiled: bool = False

    def describe(self) -> str:
        """The switches that are on, for a notice."""
        return " + ".join(name.replace("_", " ") for name, on in asdict(self).items() if on) or "plain float32"


Measure = Callable[[Variant], float | None]


def fastest(start: Variant, *, may_halve: bool, may_relayout: bool, may_compile: bool, measure: Measure) -> Variant:
    """`start` with those of the allowed switches that pay, tried one after the other.

    `measure` gives the seconds of a step, None for a variant that is refused (wrong gradients, or it does not run).
    """
    best, best_s = start, measure(start)
    allowed = {"half": may_halve, "channels_last": may_relayout, "compiled": may_compile}
    for name in (name for name, may in allowed.items() if may and not getattr(start, name)):
        candidate = replace(best, **{name: True})
        seconds = measure(candidate)
        if seconds is not None and (best_s is None or seconds < (1 - MARGIN) * best_s):
            best, best_s = candidate, seconds
    return best


def resumed(kept: Switches, compute: Compute, batch_size: int) -> Switches:
    """The switches of a checkpoint; a micro-batch that is asked for by number wins, since memory may force it."""
    if compute.micro_batch is None or _whole(compute.micro_batch, batch_size) == kept.micro_batch:
        return kept
    log.warning(
        f"{counted(compute.micro_batch, 'patch', 'patches')} at a time from here on: rounding differs from a "
        "training that had it always"
    )
    return replace(kept, micro_batch=_whole(compute.micro_batch, batch_size))


def shared_by(switches: Switches, processes: int, *, resumed_here: bool) -> Switches:
    """`switches` of a training on so many `processes`; a resumed one says when it had another number before."""
    if resumed_here and processes != switches.processes:
        log.warning(
            f"{processes} instead of {switches.processes} processes from here on: rounding differs from a training that"
            " had as many always"
        )
    return replace(switches, processes=processes)


def asked_for(compute: Compute, batch_size: int) -> Switches:
    """The switches where nothing is probed."""
    return Switches(micro_batch=None if compute.micro_batch is None else _whole(compute.micro_batch, batch_size))


def _whole(micro_batch: int, batch_size: int) -> int | None:
    return None if micro_batch >= batch_size else micro_batch
