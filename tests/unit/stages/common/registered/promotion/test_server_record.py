"""History and aliases on a server to which others write: what they delete or plant keeps nobody from promoting."""

import json
from typing import Any

import pytest

from stages.common.errors import DataError
from stages.common.registered.pointers import TOO_LATE_NS
from stages.common.registered.promotion import server_record
from stages.common.registered.promotion.champion import decide, stand
from stages.common.registered.promotion.history import PREFIX, Entry, new_key
from stages.common.registered.promotion.server_record import ServerRecord
from stages.common.tracking import names
from tests.support.tracking.trainings import FakeRegistry, made_training

NAME = "capillary-default"
VALUES = {f"v{index}": 0.5 + 0.03 * index for index in range(6)}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """Four trainings, each better than the one before; the files of a version that is in `lost` are gone."""
    made = FakeRegistry()
    made.__dict__["lost"] = set()
    for _ in range(4):
        made.add(NAME)

    class Trainings:
        def __init__(self, *_args: object) -> None:
            pass

        def read(self, version: str) -> Any:
            if version in made.__dict__["lost"]:
                raise DataError(f"training.json of version {version} is gone", remedy="x")
            return made_training({name: value + 0.01 * int(version) for name, value in VALUES.items()}, name=version)

    monkeypatch.setattr(server_record, "Trainings", Trainings)
    return made


def record(registry: FakeRegistry) -> ServerRecord:
    return ServerRecord(NAME, registry.server)


def remove(registry: FakeRegistry, version: str) -> None:
    """As MLflow does: with its tags and its aliases."""
    registry.versions[NAME] = [one for one in registry.versions[NAME] if one.version != version]
    registry.aliases[NAME] = {alias: to for alias, to in registry.aliases[NAME].items() if to != version}


def test_a_champion_that_was_deleted_keeps_no_other_from_its_place(registry: FakeRegistry) -> None:
    """No alias is pointed at a version that is not there, and the history goes on."""
    for version in ("1", "2"):
        stand(record(registry), version, "evaluate")
    decide(record(registry), "3", who="ann", why="thin vessels")
    remove(registry, "2")  # the champion before this one
    standing, _ = stand(record(registry), "4", "evaluate")
    assert (standing.champion, standing.previous) == ("4", "3")
    remove(registry, "3")
    standing, _ = decide(record(registry), "1", who="bob", why="plaques")
    assert registry.aliases[NAME] == {"candidate": "4", "champion": "1", "previous": "4"}


def test_a_training_whose_files_are_gone_beats_nobody_and_stops_nobody(registry: FakeRegistry) -> None:
    """Compared anew, because the version that it was compared with was deleted."""
    for version in ("1", "2", "3"):
        stand(record(registry), version, "evaluate")
    remove(registry, "2")
    registry.__dict__["lost"] = {"3"}
    standing, entry = stand(record(registry), "4", "evaluate")
    assert standing.champion == "4"
    assert entry is not None
    assert "difference" in entry.why


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("x", "[" * 100_000),
        ("x", "[]"),
        ("x", '{"from": null}'),
        ("9" * 20 + "-00000000", None),
        ("9" * 400 + "-00000000", None),
        ("1-00000000", None),
        ("01800000000000000000-00000000", '{"from": null, "kind": "promoted", "values": {"mean": NaN}}'),
    ],
)
def test_a_planted_tag_is_named_and_does_not_count(
    registry: FakeRegistry, key: str, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A time that no clock has would come after all that is decided later."""
    entry: dict[str, Any] = {
        "from": None,
        "kind": "promoted",
        "who": "x",
        "when": "",
        "to": "1",
        "why": "",
        "values": {},
    }
    registry.versions[NAME][0].tags[f"{PREFIX}{key}"] = text or json.dumps(entry)
    stand(record(registry), "2", "evaluate")
    standing, _ = decide(record(registry), "3", who="ann", why="thin vessels")
    assert standing.champion == registry.aliases[NAME][names.CHAMPION] == "3"
    assert "is not an entry of its history" in capsys.readouterr().out


def test_an_entry_at_the_end_of_time_is_named() -> None:
    """None could follow it, so whoever may write tags could stop every promotion."""
    last = Entry(key=f"{TOO_LATE_NS - 1:020d}-a", kind="promoted", who="?", when="", former=None, to="2", why="")
    with pytest.raises(DataError, match="entries from the future") as refused:
        new_key(1, [last])
    assert refused.value.value == f"{PREFIX}{last.key} of version 2"
