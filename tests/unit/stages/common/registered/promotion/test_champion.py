"""Who is the champion: after any history, and after several people promoted at once in any order of their steps."""

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from stages.common.errors import CapillaryError, ServiceError
from stages.common.registered.promotion.champion import (
    Record,
    Standing,
    State,
    decide,
    roll_back,
    settle,
    stand,
    standing,
)
from stages.common.registered.promotion.comparing import Comparison
from stages.common.registered.promotion.history import Entry

Work = Callable[[Record], object]
Step = Callable[["Model"], tuple["Model", tuple[Any, ...]]]
Answers = tuple[tuple[Any, ...], ...]  # what a process was answered, step by step


@dataclass(frozen=True)
class Model:
    """A registered model as its server has it, as plain values: steps can be tried in every order."""

    entries: tuple[str, ...] = ()  # as JSON, oldest first
    aliases: tuple[tuple[str, str], ...] = ()

    def history(self) -> tuple[Entry, ...]:
        return tuple(map(parsed, self.entries))

    def leads(self) -> dict[str, str]:
        return dict(self.aliases)


@functools.cache
def parsed(text: str) -> Entry:
    return Entry.model_validate_json(text)


def read_history(model: Model) -> tuple[Model, tuple[Any, ...]]:
    return model, model.entries


def read_aliases(model: Model) -> tuple[Model, tuple[Any, ...]]:
    return model, model.aliases


def appending(text: str) -> Step:
    def step(model: Model) -> tuple[Model, tuple[Any, ...]]:
        ordered = sorted((*model.entries, text), key=lambda each: parsed(each).key)
        return replace(model, entries=tuple(ordered)), ()

    return step


def pointing(alias: str, version: str) -> Step:
    def step(model: Model) -> tuple[Model, tuple[Any, ...]]:
        return replace(model, aliases=tuple(sorted({**model.leads(), alias: version}.items()))), ()

    return step


class NextStep(Exception):
    """What a process does next."""

    def __init__(self, step: Step) -> None:
        self.step = step


class Process:
    """A process up to its next step: those before are answered as they were. Reading the history and reading the
    aliases are two steps. A better version has the larger number.
    """

    def __init__(self, answers: Answers, name: int, clock: int) -> None:
        self._answers, self._name, self._clock = answers, name, clock
        self._next = 0

    def read(self) -> State:
        entries = tuple(map(parsed, self._answer(read_history)))
        return State(entries=entries, aliases=dict(self._answer(read_aliases)))

    def append(self, entry: Entry) -> None:
        # the random part of the key follows from the process, so that equal states are recognised
        named = entry.model_copy(update={"key": f"{entry.key.partition('-')[0]}-{self._name}"})
        self._answer(appending(named.model_dump_json()))

    def point(self, alias: str, version: str, after: int) -> None:
        self._answer(pointing(alias, version))

    def compare(self, one: str, other: str) -> Comparison:
        return compared(one, other)

    def measured(self, version: str) -> tuple[str, float | None]:
        return "dsc", float(version)

    def now_ns(self) -> int:
        return self._clock

    def _answer(self, step: Step) -> tuple[Any, ...]:
        place, self._next = self._next, self._next + 1
        if place == len(self._answers):
            raise NextStep(step)
        return self._answers[place]


def compared(one: str, other: str) -> Comparison:
    difference = float(one) - float(other)
    return Comparison(
        metric="dsc", volumes=9, groups=9, left_out=0, one=float(one), other=float(other), difference=difference
    )


class Crowd:
    """Processes that do `works` at once, each with its own clock."""

    def __init__(self, works: Sequence[Work], clocks: Sequence[int]) -> None:
        self._works, self._clocks = works, clocks
        self._known: dict[tuple[int, Answers], Step | None] = {}

    def next_step(self, process: int, answers: Answers) -> Step | None:
        """None if the process has ended. It depends on nothing but what the process was answered."""
        key = (process, answers)
        if key not in self._known:
            try:
                self._works[process](Process(answers, process, self._clocks[process]))
                self._known[key] = None
            except NextStep as pending:
                self._known[key] = pending.step
        return self._known[key]

    def after(self, model: Model, logs: tuple[Answers, ...], process: int) -> tuple[Model, tuple[Answers, ...]] | None:
        """The world after one more step of `process`; None if it has ended."""
        step = self.next_step(process, logs[process])
        if step is None:
            return None
        model, answer = step(model)
        return model, (*logs[:process], (*logs[process], answer), *logs[process + 1 :])

    def all_ends(self, start: Model) -> set[Model]:
        """Every model that some order of the steps ends with."""
        todo: list[tuple[Model, tuple[Answers, ...]]] = [(start, ((),) * len(self._works))]
        seen, ends = set(todo), set()
        while todo:
            world = todo.pop()
            later = [self.after(*world, process) for process in range(len(self._works))]
            if not any(later):
                ends.add(world[0])
            for each in later:
                if each is not None and each not in seen:
                    seen.add(each)
                    todo.append(each)
        return ends

    def drawn_end(self, model: Model, draw: random.Random) -> Model:
        """The model after one order, drawn step by step."""
        logs: tuple[Answers, ...] = ((),) * len(self._works)
        running = list(range(len(self._works)))
        while running:
            process = draw.choice(running)
            later = self.after(model, logs, process)
            if later is None:
                running.remove(process)
            else:
                model, logs = later
        return model


def alone(model: Model, work: Work, clock: int = 1) -> Model:
    """`model` after `work`, by one process."""
    (end,) = Crowd([work], [clock]).all_ends(model)
    return end


def standing_for(version: str) -> Work:
    return lambda record: stand(record, version, "evaluate")


FIRST = alone(Model(), standing_for("5"))


@pytest.mark.parametrize(
    ("one", "other", "best", "clocks"),
    [
        ("7", "8", "8", [10, 10]),
        ("8", "7", "8", [10, 20]),
        ("8", "7", "8", [20, 10]),
        ("3", "8", "8", [20, 10]),
        ("3", "4", "5", [10, 10]),
    ],
)
def test_after_every_order_of_two_the_best_is_the_champion_and_the_history_is_whole(
    one: str, other: str, best: str, clocks: list[int]
) -> None:
    """All orders of every read and write, with clocks that agree or not."""
    ends = Crowd([standing_for(one), standing_for(other)], clocks).all_ends(FIRST)
    assert ends
    for end in ends:
        assert end.leads()["champion"] == best
        assert sorted(entry.to for entry in end.history()) == sorted(["5", one, other])
        assert end.leads().items() >= standing(end.history(), compared).aliases().items()


def test_after_every_order_a_person_who_decides_last_is_obeyed() -> None:
    """A decision and a better training at once: the aliases are what follows from the history, in each order."""
    works: list[Work] = [standing_for("9"), lambda record: decide(record, "3", who="ann", why="faster")]
    for end in Crowd(works, [10, 10]).all_ends(FIRST):
        assert end.leads()["champion"] == ("3" if end.history()[-1].by_person else "9")


def test_after_random_orders_of_eight_the_best_is_the_champion() -> None:
    """Drawn versions, clocks and orders."""
    draw = random.Random(20261129)
    for _ in range(25):
        versions = draw.sample([str(number) for number in range(1, 40) if number != 5], 8)
        works = [standing_for(version) for version in versions]
        clocks = [draw.randrange(1, 100) for _ in works]
        end = Crowd(works, clocks).drawn_end(FIRST, draw)
        assert end.leads()["champion"] == max([*versions, "5"], key=int)
        assert len(end.history()) == 9


def test_a_training_stands_once() -> None:
    """What is evaluated again with equal results changes nothing."""
    once = alone(FIRST, standing_for("7"))
    assert alone(once, standing_for("7")) == once


def test_the_aliases_follow_promotions_and_rollbacks() -> None:
    """The history of one model, step by step."""
    steps: list[tuple[Work, dict[str, str]]] = [
        (standing_for("5"), {"candidate": "5", "champion": "5"}),
        (standing_for("7"), {"candidate": "7", "champion": "7", "previous": "5"}),
        (standing_for("6"), {"candidate": "6", "champion": "7", "previous": "5"}),
        (
            lambda record: decide(record, "6", who="ann", why="thin vessels"),
            {"candidate": "6", "champion": "6", "previous": "7"},
        ),
        (standing_for("8"), {"candidate": "8", "champion": "8", "previous": "6"}),
        (
            lambda record: roll_back(record, who="ann", why="noise"),
            {"candidate": "8", "champion": "6", "previous": "8"},
        ),
        (standing_for("9"), {"candidate": "9", "champion": "9", "previous": "6"}),
    ]
    model = Model()
    for work, expected in steps:
        model = alone(model, work)
        assert model.leads() == expected
    kinds = [entry.kind for entry in model.history()]
    assert kinds == [*["evaluated"] * 3, "promoted", "evaluated", "rolled back", "evaluated"]
    promoted = model.history()[3]
    assert (promoted.former, promoted.to, promoted.why, promoted.who) == ("7", "6", "thin vessels", "ann")
    assert promoted.values["difference"] == -1.0


def test_a_rollback_needs_a_former_champion_and_a_promotion_another_version() -> None:
    """A first champion has none before it, and is promoted already."""
    steps = Process((FIRST.entries, FIRST.aliases), 0, 1)
    with pytest.raises(CapillaryError, match="no champion before this one"):
        roll_back(steps, who="ann", why="x")
    with pytest.raises(CapillaryError, match="version 5 is already the champion"):
        decide(Process((FIRST.entries, FIRST.aliases), 0, 1), "5", who="ann", why="x")


@pytest.mark.parametrize("moved", [{"champion": "5", "previous": "5"}, {}])
def test_a_person_gets_the_champion_back_whose_alias_another_program_moved(moved: dict[str, str]) -> None:
    """`It is already the champion` would leave `@champion` where the other program put it."""
    model = replace(alone(FIRST, standing_for("7")), aliases=tuple(moved.items()))
    end = alone(model, lambda record: decide(record, "7", who="ann", why="moved by mistake"))
    assert end.leads() == {"candidate": "7", "champion": "7", "previous": "5"}
    assert [entry.kind for entry in end.history()] == ["evaluated", "evaluated", "promoted"]


def test_what_cannot_be_compared_moves_nothing() -> None:
    """Until a person decides."""
    entries = FIRST.history()

    def never(one: str, other: str) -> Comparison:
        return Comparison(metric="dsc", volumes=0, groups=0, left_out=3, why_not="no volume in common")

    later = entries[0].model_copy(update={"key": f"{entries[0].moment + 1:020d}-x", "to": "9", "former": "4"})
    assert standing((*entries, later), never) == Standing(candidate="9", champion="5")


def test_aliases_that_another_program_moves_end_with_an_error() -> None:
    """It does not run for ever."""

    class Stubborn(Process):
        def read(self) -> State:
            return State(entries=FIRST.history(), aliases={"champion": "1"})

        def point(self, alias: str, version: str, after: int) -> None:
            """Is not kept."""

    with pytest.raises(ServiceError, match="keep being changed"):
        settle(Stubborn((), 0, 1))
