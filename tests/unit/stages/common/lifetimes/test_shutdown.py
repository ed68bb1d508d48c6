"""The state machine of every stop: a table of all its transitions, and what policies change."""

import signal

import pytest

from stages.common.lifetimes.shutdown import REQUESTS, Action, Event, Phase, Policy, Shutdown, Supervision, event_of

RUNNING, STOPPING, KILLING, ENDED = Phase
CTRL_C, TERMINATE, PARENT_GONE, KILL, GRACE_OVER, CHILD_ENDED = Event
ASK, KILLED, SWEPT = (Action.FORWARD, Action.START_GRACE), (Action.KILL,), (Action.SWEEP,)
# phase → event → the next phase and what is done, where a policy says nothing
TABLE = {
    RUNNING: {
        **dict.fromkeys((CTRL_C, TERMINATE, PARENT_GONE), (STOPPING, ASK)),
        **dict.fromkeys((KILL, GRACE_OVER), (KILLING, KILLED)),
        CHILD_ENDED: (ENDED, SWEPT),
    },
    STOPPING: {
        **dict.fromkeys((CTRL_C, TERMINATE, PARENT_GONE), (STOPPING, ())),
        **dict.fromkeys((KILL, GRACE_OVER), (KILLING, KILLED)),
        CHILD_ENDED: (ENDED, SWEPT),
    },
    KILLING: {
        **dict.fromkeys((CTRL_C, TERMINATE, PARENT_GONE), (KILLING, ())),
        **dict.fromkeys((KILL, GRACE_OVER), (KILLING, KILLED)),
        CHILD_ENDED: (ENDED, SWEPT),
    },
    ENDED: dict.fromkeys(Event, (ENDED, ())),
}


def run(policy: Policy, *events: Event) -> tuple[Phase, list[tuple[Action, ...]]]:
    """The last phase, and what each event had done."""
    state, done = Shutdown(policy), []
    for event in events:
        state, actions = state.after(event)
        done.append(actions)
    return state.phase, done


def test_every_phase_answers_every_event() -> None:
    """The grace period starts once, what has ended stays so, and a kill is always obeyed."""
    found = {phase: {event: Shutdown(Policy(), phase).after(event) for event in Event} for phase in Phase}
    assert {
        phase: {event: (state.phase, actions) for event, (state, actions) in row.items()}
        for phase, row in found.items()
    } == TABLE


@pytest.mark.parametrize(
    ("policy", "events", "phase", "last"),
    [
        (Policy(repeated=frozenset({CTRL_C})), [TERMINATE, CTRL_C], STOPPING, (Action.FORWARD,)),
        (Policy(repeated=frozenset({CTRL_C})), [CTRL_C, TERMINATE], STOPPING, ()),
        (Policy(killing=frozenset({CTRL_C})), [TERMINATE, CTRL_C], KILLING, KILLED),
        (Policy(killing=frozenset({CTRL_C})), [CTRL_C, TERMINATE, TERMINATE], STOPPING, ()),
        (Policy(killing=REQUESTS, repeated=REQUESTS, kills_from=3), [CTRL_C, CTRL_C], STOPPING, (Action.FORWARD,)),
        (Policy(killing=REQUESTS, repeated=REQUESTS, kills_from=3), [CTRL_C, TERMINATE, CTRL_C], KILLING, KILLED),
        (Policy(unlimited=frozenset({CTRL_C})), [CTRL_C, CTRL_C], RUNNING, (Action.FORWARD,)),
        (Policy(unlimited=frozenset({CTRL_C})), [CTRL_C, TERMINATE], STOPPING, ASK),
        (Policy(repeated=REQUESTS), [TERMINATE, GRACE_OVER, TERMINATE], KILLING, (Action.FORWARD,)),
    ],
)
def test_a_policy_says_what_further_requests_do(
    policy: Policy, events: list[Event], phase: Phase, last: tuple[Action, ...]
) -> None:
    """Passed on again, a kill, or nothing; an unlimited one starts no grace period."""
    reached, done = run(policy, *events)
    assert (reached, done[-1]) == (phase, last)


def test_a_supervision_carries_out_what_follows_and_starts_anew_with_another_child() -> None:
    """Each action gets the signal; one without a function does nothing."""
    done: list[tuple[str, int]] = []
    supervision = Supervision(
        Policy(),
        {Action.FORWARD: lambda n: done.append(("forward", n)), Action.KILL: lambda n: done.append(("kill", n))},
    )
    supervision.take(CTRL_C, signal.SIGINT)
    supervision.take(CTRL_C, signal.SIGINT)
    supervision.take(GRACE_OVER)
    supervision.restart()
    supervision.take(PARENT_GONE)
    assert done == [("forward", 2), ("kill", 15), ("forward", 15)]


@pytest.mark.parametrize(
    ("number", "event"),
    [
        (signal.SIGINT, CTRL_C),
        (signal.SIGTERM, TERMINATE),
        (signal.SIGHUP, TERMINATE),
        (signal.SIGUSR1, TERMINATE),
        (int(signal.SIGKILL), KILL),
    ],
)
def test_signals_ask_for_one_of_three_things(number: int, event: Event) -> None:
    """By name or number."""
    assert event_of(number) is event
