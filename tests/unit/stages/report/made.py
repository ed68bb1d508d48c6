"""A report from values alone, for tests that change what they are about."""

import dataclasses
import datetime
import io
import struct
import zlib
from typing import Any

from stages.common.cell_name import CellName
from stages.common.metrics import METRICS
from stages.common.requests.report import Param, ReportRequest, Repository, RunFacts
from stages.common.statistics.results import Difference, Interval, Role
from stages.common.tracking.receipts import Receipt
from stages.report.model import (
    BandResult,
    CalibrationBin,
    Curve,
    Overlay,
    Panel,
    Report,
    TrackedRun,
    TrainedCell,
    VolumeResult,
)
from stages.report.registered import Registered, RegisteredTraining
from tests.support.tracking.cards import CARD

LOSSES = ("dice_ce", "cbdice")
MEANS = {"dice_ce": 0.7123456789, "cbdice": 0.7654321098}


def made_report(**changes: Any) -> Report:
    """Two losses on two folds of two volumes each, everything there; `changes` are fields of Report or its request."""
    asked = {name: changes.pop(name) for name in _REQUESTED & changes.keys()}
    return dataclasses.replace(_REPORT, asked=dataclasses.replace(_REPORT.asked, **asked), **changes)


def tiny_png() -> bytes:
    """One black pixel, by the specification."""
    stream = io.BytesIO(b"")
    stream.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")):
        stream.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return stream.getvalue()


def _metrics() -> dict[str, dict[str, Interval]]:
    return {
        loss: {metric: Interval(mean=mean, ci_low=mean - 0.1, ci_high=mean + 0.1) for metric in METRICS}
        for loss, mean in MEANS.items()
    }


def trained_cell(loss: str, fold: int, run_id: str = "", **card: Any) -> TrainedCell:
    """A cell with its card; with a receipt of version 7 if it has a run."""
    receipt = Receipt(run_id=run_id, name=f"capillary-{loss}", version="7", weights_sha256="")
    return TrainedCell(
        cell=CellName(loss, fold),
        card=dataclasses.replace(CARD, loss=loss, fold=fold, **card),
        receipt=receipt if run_id else None,
    )


def _difference(metric: str) -> Difference:
    return Difference(
        loss="dice_ce",
        other="cbdice",
        metric=metric,
        role=Role.PRIMARY if metric == "dsc" else Role.EXPLORATORY,
        volumes=4,
        groups=4,
        difference=-0.0530864309,
        ci_low=-0.09,
        ci_high=-0.01,
        p=0.125,
        p_smallest=0.125,
        p_holm=0.125 if metric == "dsc" else None,
        effect_size=-1.3,
        detectable=0.0871 if metric == "dsc" else None,
    )


def _volume(loss: str, index: int) -> VolumeResult:
    values = dict.fromkeys(METRICS, MEANS[loss] + index / 100)
    name = f"stack{index}"
    return VolumeResult(loss=loss, fold=index % 2, id=name, group=name, values=values, rule="measured")


def _panels() -> tuple[Panel, ...]:
    return tuple(Panel(name=name, png=tiny_png()) for name in ("image", "label", "prediction", "error"))


def _registered(version: int, **changes: Any) -> RegisteredTraining:
    usual: dict[str, Any] = {
        "model": "capillary-default",
        "loss": "cbdice",
        "networks": "4",
        "metric": "DSC",
        "value": f"0.7{version:02d} [0.612, 0.809]",
        "volumes": "8",
        "held_out": "",
        "commit": "0123456789abcdef" * 2,
        "made": datetime.datetime(2026, 1, version, 3, 4, tzinfo=datetime.UTC),
        "is_this": False,
    }
    return RegisteredTraining(version=version, **{**usual, **changes})


_SAMPLES = {
    "system/process_tree_memory_megabytes": ((10.0, 800.0), (20.0, 900.0)),
    "system/cpu_utilization_percentage": ((10.0, 90.0), (20.0, 95.5)),
    "system/gpu_0_utilization_percentage": ((10.0, 50.0), (20.0, 70.0)),
}
_CELLS = tuple(CellName(loss, fold) for loss in LOSSES for fold in (0, 1))
_ASKED = ReportRequest(
    name="two-losses",
    written=datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC),
    facts=RunFacts(description="a comparison"),
    cells=_CELLS,
    confidence=0.95,
    nsd_tolerance_um=2.0,
    tracking_place="https://mlflow.example.org",
    repository=Repository(commit="0123456789abcdef" * 2, branch="main", changed=(), params_changed=True),
    environment=(("CPU", "a processor"),),
    params=(
        Param(key="training.seed", value="1", changed=True),
        Param(key="training.folds", value="[0]", changed=False),
    ),
    repeat=("git switch --detach 0123456789ab", "./just experiment --config a.yaml"),
    stale=(),
)
_REPORT = Report(
    asked=_ASKED,
    metrics=_metrics(),
    differences=tuple(_difference(metric) for metric in METRICS),
    volumes=tuple(_volume(loss, index) for loss in LOSSES for index in range(4)),
    bands=tuple(
        BandResult(loss=loss, from_um=low, to_um=high, volumes=4, recall=recall, centreline_dsc=recall / 2)
        for loss in LOSSES
        for low, high, recall in ((0.0, 3.0, 0.125), (3.0, 6.0, 0.5), (6.0, float("inf"), 0.875))
    ),
    calibration=tuple(
        CalibrationBin(loss=loss, voxels=10, mean_probability=share, vessel_share=share / 2, calibration_error=0.0625)
        for loss in LOSSES
        for share in (0.125, 0.5, 0.875)
    ),
    curves=tuple(
        Curve(loss=loss, fold=fold, epochs=(1, 2, 3), training_loss=(1.5, None, 0.5), validation_dsc=(None, 0.4, 0.6))
        for loss, fold, _ in _CELLS
    ),
    trained=tuple(trained_cell(loss, fold, f"{loss}{fold}" * 4, epochs=3) for loss, fold, _ in _CELLS),
    overlays=tuple(
        Overlay(
            rank=rank,
            loss="cbdice",
            fold=0,
            id=f"stack{index}",
            metric="dsc",
            value=0.7,
            slice_z=3,
            depth=9,
            aspect=1.5,
            pixels=300,
            slice=_panels(),
            projection=_panels(),
        )
        for index, rank in enumerate(("best", "median", "worst"))
    ),
    runs=tuple(
        TrackedRun(
            run_id=f"{loss}{fold}" * 4,
            loss=loss,
            fold=fold,
            status="FINISHED",
            seconds=75.0,
            url="https://mlflow.example.org/#/experiments/1/runs/x",
            samples=_SAMPLES,
        )
        for loss, fold, _ in _CELLS
    ),
    notes={},
    registered=Registered(
        trainings=(
            _registered(12, state="candidate", is_this=True, against_champion="The champion is version 9."),
            _registered(11, state="rehearsal"),
            _registered(9, state="champion", held_out="0.701 [0.650, 0.752]"),
            _registered(8, state="previous", volumes="", commit="", made=None),
        ),
        left_out=3,
    ),
)
_REQUESTED = {field.name for field in dataclasses.fields(ReportRequest)} - {"notes"}
