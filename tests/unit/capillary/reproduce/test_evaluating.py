"""Which state of the project is evaluated, and what is named as a reason. Without Git and DVC."""

import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from capillary.reproduce import evaluating
from capillary.reproduce.evaluating import measure, why_not
from capillary.reproduce.project import Project
from capillary.reproduce.recipe import Recipe, Recorded
from capillary.reproduce.training import CommandRunner, set_losses
from stages.common.provenance.record import FOLDER, RECORD, record_bytes
from tests.support.tracking.provenance import COMPUTING, provenance_record
from tests.unit.capillary.reproduce.test_project import recipe

PARAMS = {"training": {"losses": ["dice_ce", "cldice"]}, "evaluation": {"threshold": 0.4}}
TRAINED = recipe("c" * 40)


def evaluation(host: dict[str, Any] | None = None, **record: Any) -> Recorded:
    """How both losses were evaluated, on another commit."""
    made = provenance_record({"commit": "e" * 40, **(host or {})}, stage="evaluate", **record)
    return Recorded(record=made, diff=b"", params=yaml.safe_dump(PARAMS).encode(), lock=b"")


class Work:
    """Commands that leave what evaluate would."""

    def __init__(self, root: Path, now: Recorded, changed: str = "") -> None:
        self.project = Project(base=root, tree=root, root=root)
        self.losses: list[str] = []
        self._now, self._changed = now, changed

    def changed_for(self, addresses: list[str]) -> str:
        """As DVC says."""
        assert addresses == ["train@dice_ce-0"]
        return self._changed

    def evaluate(self, loss: str) -> dict[str, float]:
        """Leave a record."""
        if (self.project.root / "params.yaml").is_file():
            set_losses(self.project.root / "params.yaml", [loss])
        file = self.project.root / "mlruns" / FOLDER / RECORD
        file.parent.mkdir(parents=True)
        file.write_bytes(record_bytes(self._now.record))
        return {"dsc": 0.5}


def run(work: Work, then: Recorded | None, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Recorded], list[str] | None]:
    """(the state to which the project was moved, the names of the reasons)."""
    moved: list[Recorded] = []

    def move(project: Project, _then: Recorded, now: Recorded) -> None:
        moved.append(now)
        (project.root / "params.yaml").write_bytes(now.params)

    monkeypatch.setattr(evaluating, "move", move)
    found = measure(TRAINED, then, cast("CommandRunner", work))
    assert found.metrics == {"dsc": 0.5}
    return moved, None if found.reasons is None else [each.name for each in found.reasons]


def test_evaluate_has_its_own_params_commit_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though others were recorded with the networks. That a single loss is evaluated again is no reason."""
    then = evaluation()
    assert run(Work(tmp_path, then), then, monkeypatch) == ([then], [])


def test_what_differs_in_evaluate_or_in_what_the_networks_depend_on_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks were not trained again for an evaluation on a commit with other code of theirs."""
    now = evaluation(computing=COMPUTING.model_copy(update={"threads": 1}))
    work = Work(tmp_path, now, "stages/train, training.max_epochs")
    assert run(work, evaluation(), monkeypatch)[1] == ["what the networks depend on", "threads"]


def test_without_a_record_of_evaluate_the_state_of_the_networks_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As versions are that were registered before evaluate recorded one; no reason is known then."""
    assert run(Work(tmp_path, evaluation()), None, monkeypatch) == ([], None)


def test_metrics_of_several_states_are_not_compared() -> None:
    """The reason is said."""
    assert why_not((TRAINED,), evaluation()) == why_not((TRAINED,), None) == ""
    assert "different states" in why_not((TRAINED, Recipe(originals=TRAINED.originals)), None)
    moved = dataclasses.replace(evaluation({"prefix": "sub/"}))
    assert "another folder" in why_not((TRAINED,), moved)
