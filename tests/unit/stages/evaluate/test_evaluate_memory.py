"""What evaluate holds in memory while it goes from volume to volume."""

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.common.imaging.volumes import Volume
from stages.common.monitoring.memory_guard import MemoryGuard
from stages.evaluate import predict
from stages.evaluate.cells import Cell
from tests.support.tracking.cards import CARD
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.evaluate.made import evaluation
from tests.unit.stages.train.tiny import write_volumes


@pytest.mark.parametrize("least_um3", [None, "auto"])
def test_no_former_volume_or_network_is_held_while_the_next_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_um3: str | None
) -> None:
    """Two cells of two volumes: when a prediction or a network is made, all earlier ones are gone."""
    made: list[weakref.ref[Any]] = []
    held: list[int] = []

    def note(thing: Any) -> Any:
        held.append(sum(reference() is not None for reference in made))
        made.append(weakref.ref(thing))
        return thing

    def some_probability(_model: torch.nn.Module, volume: Volume, *_: object) -> NDArray[np.float32]:
        return note(np.full(volume.shape_zyx, 0.9, np.float32))  # type: ignore[no-any-return]

    monkeypatch.setattr(predict, "predict_volume", some_probability)
    monkeypatch.setattr(predict, "load_model", lambda _network: note(torch.nn.Conv3d(1, 2, 1)))
    volumes = write_volumes(tmp_path / "processed", ((3, 16, 16),) * 4)
    cells = [
        Cell(
            loss="dice_ce",
            fold=fold,
            card=replace(CARD, loss="dice_ce", fold=fold, patch_voxels=(3, 16, 16)),
            volumes=tuple(volumes)[2 * fold : 2 * fold + 2],
        )
        for fold in (0, 1)
    ]
    runtime = embedded_runtime(tmp_path / "state", artifact_root=None)
    chosen = evaluation(min_component_um3=least_um3)
    predict.evaluate_cells(cells, chosen, mock.MagicMock(), runtime, MemoryGuard())
    # a network, then its two volumes next to it; the same again
    assert held == [0, 1, 1, 0, 1, 1]
