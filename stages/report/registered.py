"""What an MLflow server keeps about a project: curves of runs and registered trainings. None of it is in an out."""

import datetime
from dataclasses import dataclass

Samples = tuple[tuple[float, float], ...]  # (seconds since the run's start, value)


@dataclass(frozen=True, kw_only=True)
class RegisteredTraining:
    """A version of a registered model that is a training, as its tags say. What a tag does not say is empty.

    `value` is the mean of `metric` with its interval, `held_out` the ensemble's on held-out volumes, as they were
    written. `state` is its aliases, or that it is a rehearsal. `is_this` says that the present workspace trained it;
    `against_champion` is then how it compares with the champion.
    """

    model: str
    version: int
    state: str
    loss: str
    networks: str
    metric: str
    value: str
    volumes: str
    held_out: str
    commit: str
    made: datetime.datetime | None
    is_this: bool
    against_champion: str = ""

    @property
    def title(self) -> str:
        """By which commands name it."""
        return f"{self.model}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """The trainings that are shown, and how many are not; `missing` says why there are none."""

    trainings: tuple[RegisteredTraining, ...] = ()
    left_out: int = 0
    missing: str | None = None

    @property
    def has_held_out(self) -> bool:
        """Whether one of them was measured on held-out volumes."""
        return any(one.held_out for one in self.trainings)


NOTHING = Registered()
