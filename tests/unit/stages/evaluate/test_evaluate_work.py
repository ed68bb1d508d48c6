"""From networks and volumes to rows: masks, small parts, measurements and pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.common.backends.network import PreparedNetwork
from stages.common.errors import CapillaryError
from stages.common.imaging.grid import resample
from stages.common.imaging.volumes import Grid, Volume
from stages.common.inference import Flips, predict_probability
from stages.common.monitoring.memory_guard import MemoryGuard
from stages.evaluate import predict
from stages.evaluate.cells import Cell
from stages.evaluate.measure import measure
from stages.evaluate.predict import Evaluated, evaluate_cells, predict_volume
from stages.evaluate.small_parts import ALL_FOLDS, without_small
from stages.evaluate.statistics.calibration import Reliability
from stages.evaluate.views import take_views
from tests.support.models.prepared import BY_TORCH
from tests.support.tracking.cards import CARD
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.evaluate.made import evaluation
from tests.unit.stages.train.tiny import write_volumes

SHAPE = (3, 16, 16)


def probability_of(card: Any, volume: Volume) -> NDArray[np.float32]:
    """Made-up probabilities for a card and a volume, in steps of 1/16, so that some equal the threshold."""
    seed = 10 * len(card.loss) + card.fold
    grey = np.random.default_rng(seed).integers(0, 17, volume.shape_zyx) / 16
    return np.where(volume.label(), np.maximum(grey, 0.25), grey**2).astype(np.float32)


@pytest.fixture
def volumes(tmp_path: Path) -> list[Volume]:
    """Four volumes of 2 × 1 × 1 µm."""
    return write_volumes(tmp_path / "processed", (SHAPE,) * 4)


def cells_of(volumes: Sequence[Volume], losses: tuple[str, ...]) -> list[Cell]:
    """For each loss two folds of two volumes, and one without any."""
    return [
        Cell(
            loss=loss,
            fold=fold,
            card=replace(CARD, loss=loss, fold=fold, weights_sha256=f"{fold}" * 64),
            volumes=tuple(volumes)[2 * fold : 2 * fold + 2],
        )
        for loss in losses
        for fold in (0, 1, 2)
    ]


def run(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: MemoryGuard, **changes: Any
) -> Evaluated:
    """evaluate_cells on the probabilities of `probability_of`."""

    def known(_model: torch.nn.Module, volume: Volume, card: Any, _evaluation: object) -> NDArray[np.float32]:
        return probability_of(card, volume)

    monkeypatch.setattr(predict, "predict_volume", known)
    monkeypatch.setattr(predict, "load_model", lambda _network: torch.nn.Conv3d(1, 2, 1))
    runtime = embedded_runtime(tmp_path / "state", artifact_root=None)
    return evaluate_cells(cells, evaluation(**changes), mock.MagicMock(), runtime, guard)


@pytest.mark.parametrize("least_um3", [None, 9.0, "auto"])
@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_each_volume_has_a_row_of_its_own_mask(
    volumes: list[Volume],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    threshold: float,
    least_um3: object,
) -> None:
    """Rows follow the cells: vessel is above the threshold, and small parts are removed before measuring."""
    losses = ("dice_ce", "cbdice")
    cells = cells_of(volumes, losses)
    changes: dict[str, Any] = {"threshold": threshold, "min_component_um3": least_um3, "metrics": ("dsc", "hd95_um")}
    found = run(cells, tmp_path, monkeypatch, MemoryGuard(), **changes)
    sizes = {(one.loss, one.fold): one.min_component_um3 for one in found.choices}
    assert set(sizes) == {(loss, fold) for loss in losses for fold in (0, 1, ALL_FOLDS)}
    assert least_um3 == "auto" or set(sizes.values()) == {least_um3 or 0.0}
    pairs = [(cell, volume) for cell in cells for volume in cell.volumes]
    for (cell, volume), row, calibration in zip(pairs, found.rows, found.calibration, strict=True):
        probability, label = probability_of(cell.card, volume), volume.label().astype(np.bool_)
        mask = without_small(probability > threshold, volume.spacing_um, sizes[cell.loss, cell.fold])
        expected = measure(
            mask,
            label,
            volume.spacing_um,
            metrics=("dsc", "hd95_um"),
            nsd_tolerance_um=1.0,
            radius_bands_um=(1.0, 2.0),
        )
        assert row.measurement == expected
        assert (row.loss, row.fold, row.id, row.group) == (cell.loss, cell.fold, volume.id, volume.group)
        assert row.weights_sha256 == cell.card.weights_sha256
        assert row.seconds > 0
        assert (calibration.loss, calibration.fold, calibration.id) == (row.loss, row.fold, row.id)
        reliability = Reliability.of(probability, label)
        np.testing.assert_array_equal(calibration.reliability.vessel_voxels, reliability.vessel_voxels)
        np.testing.assert_array_equal(calibration.reliability.probability_sum, reliability.probability_sum)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(pairs) * (2 if least_um3 == "auto" else 1)
    last = found.rows[-1]
    assert f"cbdice fold 1 volume_3 DSC {last.measurement.values['dsc']:.3f}" in said[-1]
    assert "(measured) in" in said[-1]


def test_a_resampled_volume_is_measured_on_its_own_label(
    volumes: list[Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probability is brought back to the stack's grid before the threshold; label, spacing and pictures are its."""
    native = Grid(shape_zyx=(5, 23, 19), spacing_um=(1.25, 0.75, 0.5))
    label = np.zeros(native.shape_zyx, dtype=np.uint8)
    label[1:4, 5:9, 2:-2] = 1
    label[2, 15, 4:12] = 1  # thinner than the arrays' voxels
    for volume in volumes:
        np.save(volume.folder / "native_label.npy", label)
    resampled = [replace(volume, native=native) for volume in volumes]
    cells = cells_of(resampled, ("dice_ce",))
    found = run(cells, tmp_path, monkeypatch, MemoryGuard(), threshold=0.4, min_component_um3=2.0)
    for row, volume, cell in zip(found.rows, resampled, (cells[0], cells[0], cells[1], cells[1]), strict=True):
        probability = resample(probability_of(cell.card, volume), native.shape_zyx)
        mask = without_small(probability > 0.4, native.spacing_um, 2.0)
        assert row.measurement.reference_voxels == label.sum()
        assert row.measurement.predicted_voxels == mask.sum()
        intersection = np.count_nonzero(mask & label.astype(np.bool_))
        assert row.measurement.values["dsc"] == pytest.approx(2 * intersection / (mask.sum() + label.sum()))
        assert row.views.sides_um == (23 * 0.75, 19 * 0.5)
        assert row.views.depth == 5


def test_the_pictures_show_the_mask_that_is_measured(
    volumes: list[Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image, label, and the mask without its small parts."""
    cells = cells_of(volumes, ("dice_ce",))
    found = run(cells, tmp_path, monkeypatch, MemoryGuard(), min_component_um3=9.0)
    for row, volume, cell in zip(found.rows, volumes, (cells[0], cells[0], cells[1], cells[1]), strict=True):
        mask = without_small(probability_of(cell.card, volume) > 0.5, volume.spacing_um, 9.0)
        expected = take_views(volume.image(), volume.label().astype(np.bool_), mask, volume.spacing_um)
        assert (row.views.slice_z, row.views.sides_um) == (expected.slice_z, expected.sides_um)
        for shown, wanted in ((row.views.slice, expected.slice), (row.views.projection, expected.projection)):
            for part in ("grey", "label", "prediction", "error"):
                np.testing.assert_array_equal(getattr(shown, part), getattr(wanted, part))


@pytest.mark.parametrize("least_um3", [None, "auto"])
def test_held_out_volumes_are_measured_under_each_network_and_under_all_as_one(
    volumes: list[Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_um3: object
) -> None:
    """The ensemble's mask is that of the mean probability; they choose no size, and get the one for unseen stacks."""
    bare = cells_of(volumes, ("a", "b"))
    own = [replace(cell, held_out=tuple(volumes[2:]), volumes=cell.volumes[:1]) for cell in bare]
    cells = [*own, replace(own[-1], seed=7, card=replace(own[-1].card, fold=5))]
    plain = run(own, tmp_path, monkeypatch, MemoryGuard(), min_component_um3=least_um3, metrics=("dsc",))
    found = run(cells, tmp_path, monkeypatch, MemoryGuard(), min_component_um3=least_um3, metrics=("dsc",))
    assert found.choices == plain.choices
    assert [row.measurement for row in found.rows] == [row.measurement for row in plain.rows]
    sizes = {one.loss: one.min_component_um3 for one in found.choices if one.fold == ALL_FOLDS}
    rows = {(row.loss, row.model, row.id): row.measurement for row in found.held_out}
    assert len(rows) == len(found.held_out) == 2 * (7 + 2)  # seven networks and two ensembles
    for loss in ("a", "b"):
        cards = {f"fold_{cell.fold}{'_seed_7' if cell.seed else ''}": cell.card for cell in cells if cell.loss == loss}
        for volume in volumes[2:]:
            each = {name: probability_of(card, volume) for name, card in cards.items()}
            for name, probability in {**each, "ensemble": np.mean(list(each.values()), axis=0)}.items():
                mask = without_small(probability > 0.5, volume.spacing_um, sizes[loss])
                assert rows[loss, name, volume.id].predicted_voxels == mask.sum()


@pytest.mark.parametrize("least_um3", [None, "auto"])
def test_too_much_memory_stops_between_two_volumes(
    volumes: list[Volume], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least_um3: object
) -> None:
    """The error names the volume that was done last."""
    asked: list[str] = []

    class Crossed(MemoryGuard):
        def raise_if_crossed(self, when: str) -> None:
            asked.append(when)
            if len(asked) == 2:
                raise CapillaryError(f"too much memory {when}", remedy="", code=8)  # type: ignore[arg-type]

    with pytest.raises(CapillaryError, match="after volume volume_1 of dice_ce, fold 0"):
        run(cells_of(volumes, ("dice_ce",)), tmp_path, monkeypatch, Crossed(), min_component_um3=least_um3)
    assert asked[0] == "after volume volume_0 of dice_ce, fold 0"


@pytest.mark.parametrize(
    ("flips", "precision", "dtype"),
    [("none", "fp32", None), ("all", "fp32", None), ("in_plane", "bf16", torch.bfloat16)],
)
def test_a_volume_is_predicted_as_card_and_params_say(
    volumes: list[Volume], flips: Flips, precision: str, dtype: torch.dtype | None
) -> None:
    """Patch size and precision come from the card, overlap and flips from the params."""
    torch.manual_seed(0)
    model = torch.nn.Conv3d(1, 2, 3, padding=1)
    card = replace(CARD, patch_voxels=(3, 8, 8), precision=precision)
    ready = PreparedNetwork(model, card, BY_TORCH)
    found = predict_volume(ready, volumes[0], card, evaluation(overlap=0.5, test_time_flips=flips))
    image = volumes[0].image()
    expected = predict_probability(model, image, (3, 8, 8), 0.5, autocast_dtype=dtype, flips=flips)
    np.testing.assert_array_equal(found, expected)
    for other in ({"overlap": 0.0}, {"test_time_flips": "none" if flips != "none" else "in_plane"}):
        params = evaluation(**{"overlap": 0.5, "test_time_flips": flips, **other})
        assert np.abs(predict_volume(ready, volumes[0], card, params) - found).max() > 1e-4
