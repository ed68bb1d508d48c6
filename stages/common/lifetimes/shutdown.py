"""The one way in which anything ends here: what follows from a request to stop, a limit, or the end of the child.

A `Shutdown` is a value that decides; whoever supervises a child carries out what it says
(docs/explanation/stopping.md).
"""

import signal
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

GRACE_S = 10.0  # between a request to stop and the kill, unless CAPILLARY_GRACE_S says otherwise


class Phase(Enum):
    """Where a child is in its life."""

    RUNNING = "running"
    STOPPING = "stopping"  # it was asked to end, and its grace period runs
    KILLING = "killing"  # the grace period is over, or somebody insisted
    ENDED = "ended"


class Event(Enum):
    """What can happen to it."""

    CTRL_C = "Ctrl-C"
    TERMINATE = "terminate"  # SIGTERM or SIGHUP: kill, docker stop, a closed terminal, a scheduler's time limit
    PARENT_GONE = "parent gone"
    KILL = "kill"  # from a supervisor further up, whose own patience is at an end
    GRACE_OVER = "grace over"
    CHILD_ENDED = "child ended"


class Action(Enum):
    """What its supervisor does about it."""

    FORWARD = "forward"  # pass the request on to the child
    START_GRACE = "start grace"
    KILL = "kill"
    SWEEP = "sweep"  # end what the child left running


REQUESTS = frozenset({Event.CTRL_C, Event.TERMINATE, Event.PARENT_GONE})


class Policy(NamedTuple):
    """How one supervisor treats requests to stop.

    `unlimited` ones are passed on to a running child, which decides itself: no grace period starts. Of those after the
    first, `repeated` ones are passed on again, and from the one with the number `kills_from` on `killing` ones kill.
    """

    unlimited: frozenset[Event] = frozenset()
    repeated: frozenset[Event] = frozenset()
    killing: frozenset[Event] = frozenset()
    kills_from: int = 2


class Shutdown(NamedTuple):
    """The state of one child. `requests` counts the requests to stop so far."""

    policy: Policy
    phase: Phase = Phase.RUNNING
    requests: int = 0

    def after(self, event: Event) -> "tuple[Shutdown, tuple[Action, ...]]":
        """The state after `event`, and what is to be done, in order."""
        if self.phase is Phase.ENDED:
            return self, ()
        if event is Event.CHILD_ENDED:
            return self._replace(phase=Phase.ENDED), (Action.SWEEP,)
        if event in REQUESTS:
            return self._replace(requests=self.requests + 1)._asked(event)
        return self._replace(phase=Phase.KILLING), (Action.KILL,)

    def _asked(self, event: Event) -> "tuple[Shutdown, tuple[Action, ...]]":
        if self.phase is Phase.RUNNING:
            if event in self.policy.unlimited:
                return self, (Action.FORWARD,)
            return self._replace(phase=Phase.STOPPING), (Action.FORWARD, Action.START_GRACE)
        if event in self.policy.killing and self.requests >= self.policy.kills_from:
            return self._replace(phase=Phase.KILLING), (Action.KILL,)
        return self, (Action.FORWARD,) if event in self.policy.repeated else ()


class Supervision:
    """A `Shutdown` as it changes, and who carries out its actions. Each gets the signal of the request at hand."""

    def __init__(self, policy: Policy, carry_out: Mapping[Action, Callable[[signal.Signals], object]]) -> None:
        self._policy, self._carry_out = policy, carry_out
        self.restart()

    def restart(self) -> None:
        """From now on this is about another child, which nobody has asked to end."""
        self.shutdown = Shutdown(self._policy)

    def take(self, event: Event, number: signal.Signals = signal.SIGTERM) -> None:
        """Do what follows from `event`. May be called from a signal handler."""
        self.shutdown, actions = self.shutdown.after(event)
        for action in actions:
            if action in self._carry_out:
                self._carry_out[action](number)


def event_of(number: int) -> Event:
    """What signal `number` asks for."""
    if number == signal.SIGKILL:
        return Event.KILL
    return Event.CTRL_C if number == signal.SIGINT else Event.TERMINATE
