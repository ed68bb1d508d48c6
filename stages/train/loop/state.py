"""Everything that changes while a training runs: what a checkpoint must hold so that nothing is lost."""

import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from stages.train.computing.precision import Decision
from stages.train.computing.switches import Switches
from stages.train.loop.history import EpochRecord


@dataclass(kw_only=True)
class Tally:
    """Sums over the epoch at hand; `steps_done` counts skipped steps too."""

    steps_done: int = 0
    steps_taken: int = 0
    loss_sum: float = 0.0
    gradient_norm_sum: float = 0.0
    nonfinite_steps: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True)
class Best:
    """The epoch with the best validation. For looking at only: the registered model is the last epoch's."""

    epoch: int
    validation_dsc: float
    weights: dict[str, torch.Tensor]


@dataclass(kw_only=True)
class TrainingState:
    """`epoch` counts finished epochs. The learning rate is a function of the step, so it needs no state of its own."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: Decision
    switches: Switches = field(default_factory=Switches)
    epoch: int = 0
    tally: Tally = field(default_factory=Tally)
    nonfinite_in_row: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    best: Best | None = None
    run_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The state with the random states of this process, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "precision": asdict(self.precision),
            "switches": asdict(self.switches),
            "epoch": self.epoch,
            "tally": asdict(self.tally),
            "nonfinite_in_row": self.nonfinite_in_row,
            "history": [asdict(record) for record in self.history],
            "best": None if self.best is None else vars(self.best),
            "run_id": self.run_id,
            "random": _random_states(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Become what `as_dict` gave; `precision` and `switches` were read before: scaler and network need them."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.epoch = saved["epoch"]
        self.tally = Tally(**saved["tally"])
        self.nonfinite_in_row = saved["nonfinite_in_row"]
        self.history = [EpochRecord(**record) for record in saved["history"]]
        self.best = None if saved["best"] is None else Best(**saved["best"])
        self.run_id = saved["run_id"]
        _set_random_states(saved["random"])


def _random_states() -> dict[str, Any]:
    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()  # plain values load without unpickling code
    return {
        "python": random.getstate(),
        "numpy": numpy_state,
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    numpy_state = states["numpy"]
    key = np.asarray(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state({**numpy_state, "state": {**numpy_state["state"], "key": key}})
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
