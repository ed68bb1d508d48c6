"""From results to trainings: one for each loss, the best of which stands for champion."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from stages.common.registered.trainings.training import Training, training_id
from stages.common.splits import Fold, write_splits
from stages.evaluate.cells import Cell
from stages.evaluate.params import EvaluateParams
from stages.evaluate.params import Training as Listed
from stages.evaluate.statistics.paired import compare_losses
from stages.evaluate.statistics.summary import summarise
from stages.evaluate.trainings import Results, trainings_of
from tests.support.tracking.cards import CARD
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.evaluate.made import evaluation, row
from tests.unit.stages.train.tiny import write_volumes

LOSSES = ("dice_ce", "cldice")


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four volumes in two folds."""
    folder = tmp_path_factory.mktemp("trainings") / "processed"
    volumes = [volume.id for volume in write_volumes(folder, ((3, 16, 16),) * 4)]
    write_splits(folder, [Fold(train=tuple(volumes[2:]), val=tuple(volumes[:2])), Fold(train=(), val=())])
    return folder


def made(processed: Path, *, folds: tuple[int, ...] = (0, 1), metric: str = "dsc", **order: Any) -> list[Training]:
    """Two losses, of which cldice has the larger DSC and therefore the smaller distances."""
    cells = [
        Cell(loss=loss, fold=fold, volumes=(), card=dataclasses.replace(CARD, loss=loss, fold=fold, fingerprint=key))
        for loss in LOSSES
        for fold in folds
        if (key := f"{loss}-{fold}")
    ]
    rows = [
        dataclasses.replace(row(loss, index, 0.5 + 0.1 * index + 0.05 * place), id=f"volume_{index}")
        for place, loss in enumerate(LOSSES)
        for index in range(4)
        if index % 2 in folds
    ]
    settings = evaluation(metrics=(metric, "nsd"))
    results = Results(
        cells=cells, rows=rows, summary=summarise(rows, settings), differences=compare_losses(rows, settings)
    )
    params = EvaluateParams(training=Listed(losses=LOSSES, folds=folds, seed=7, seeds=()), evaluation=settings)
    runtime = embedded_runtime(processed, artifact_root=None, **order)
    return trainings_of(results, params, runtime, processed)


@pytest.mark.parametrize("metric", ["dsc", "hd95_um"])
def test_the_best_loss_stands_by_the_first_metric(processed: Path, metric: str) -> None:
    """Also where less is better; each training knows the other one's numbers, with the sign of its own side."""
    first, second = made(processed, metric=metric, registered_model="capillary-trial")
    assert (first.stands, second.stands) == (False, True)
    assert {one.registered_model for one in (first, second)} == {"capillary-trial"}
    assert first.id == training_id(["dice_ce-1", "dice_ce-0"]) != second.id
    assert [(cell.fold, cell.fingerprint) for cell in first.cells] == [(0, "dice_ce-0"), (1, "dice_ce-1")]
    assert first.metrics == (metric, "nsd")
    (rival,), (other,) = first.rivals, second.rivals
    assert (rival.loss, other.loss) == ("cldice", "dice_ce")
    assert rival.difference == pytest.approx(-0.05 if metric == "dsc" else 0.05)
    assert other.difference == pytest.approx(-(rival.difference or 0.0))
    assert {volume.id: volume.values["nsd"] for volume in first.volumes}.keys() == {f"volume_{n}" for n in range(4)}


@pytest.mark.parametrize("change", [{"rehearsal": True}, {"folds": (0,)}])
def test_a_rehearsal_and_fewer_folds_never_stand(processed: Path, change: dict[str, Any]) -> None:
    """Their numbers mean nothing, or are over other volumes."""
    assert [(one.rehearsal, one.stands) for one in made(processed, **change)] == [(True, False)] * 2
