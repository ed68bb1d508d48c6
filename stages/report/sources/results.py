"""What the stages wrote to metrics/ and models/."""

import base64
import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError

from stages.common import stored
from stages.common.cell_name import CellName
from stages.common.errors import DamagedError, DataError
from stages.common.imaging.zyx import Length
from stages.common.metrics import METRICS
from stages.common.runtime import Runtime
from stages.common.statistics.results import Difference, Interval, Role
from stages.common.tracking.cards.card import read_card
from stages.common.tracking.receipts import read_receipt
from stages.report.model import BandResult, CalibrationBin, Coverage, Curve, Overlay, Panel, TrainedCell, VolumeResult

# columns of metrics/radius_bands.csv (stages/evaluate/metrics/bands.py)
BAND_COUNTS = ("label", "label_found", "line", "line_found", "predicted_line", "predicted_line_right")
HELD_OUT = "test"  # a key of a loss in metrics.json, next to its metrics
PNG_START = b"\x89PNG\r\n\x1a\n"
Row = TypeVar("Row")
# what a file of another form raises where it is read: any of them
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def read_metrics(folder: Path) -> dict[str, dict[str, Interval]]:
    """metrics/metrics.json: loss → metric → interval. Raises DataError when it is missing or of another form."""
    file = folder / "metrics.json"
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        tree.pop("partial", None)
        return {
            loss: {
                METRICS[name].name: Interval(**{end: finite(found[name][end]) for end in ("mean", "ci_low", "ci_high")})
                for name in next(iter(tree.values()))
                if name != HELD_OUT
            }
            for loss, found in tree.items()
        }
    except UNREADABLE as error:
        raise unreadable(file, error) from error


def read_coverage(folder: Path) -> Coverage | None:
    """What metrics.json says of missing cells; None if all were measured. Raises DataError."""
    file = folder / "metrics.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("partial")
        if found is None:
            return None
        return Coverage(
            missing=tuple(CellName(cell["loss"], int(cell["fold"]), cell.get("seed")) for cell in found["missing"]),
            volumes={loss: int(count) for loss, count in found["volumes"].items()},
            of_volumes=int(found["of_volumes"]),
        )
    except UNREADABLE as error:
        raise unreadable(file, error) from error


def read_volumes(folder: Path) -> tuple[VolumeResult, ...]:
    """metrics/per_volume.csv. Raises DataError."""

    def parse(line: dict[str, str]) -> VolumeResult:
        values = {name: _measured(line[name]) for name in line if name in METRICS}
        return VolumeResult(
            loss=line["loss"],
            fold=int(line["fold"]),
            id=line["id"],
            group=line.get("group") or line["id"],  # a table from before it had the column
            values=values,
            rule=line["rule"],
            labelled_share=float(line.get("labelled_share") or 1),
            seed=int(line["seed"]) if line.get("seed") else None,
        )

    return read_table(folder / "per_volume.csv", parse)


def _measured(text: str) -> float:
    """A metric of a volume; NaN if the labelled voxels did not allow it."""
    return float(text) if text else math.nan


def read_differences(folder: Path) -> tuple[Difference, ...]:
    """metrics/paired.csv. Raises DataError."""

    def parse(line: dict[str, str]) -> Difference:
        return Difference(
            loss=line["loss"],
            other=line["other"],
            metric=METRICS[line["metric"]].name,
            role=Role(line["role"]),
            volumes=int(line["volumes"]),
            groups=int(line["groups"]),
            difference=float(line["difference"]),
            ci_low=maybe(line["ci_low"]),
            ci_high=maybe(line["ci_high"]),
            p=float(line["p"]),
            p_smallest=float(line["p_smallest"]),
            p_holm=maybe(line["p_holm"]),
            effect_size=maybe(line["effect_size"]),
            detectable=maybe(line["detectable"]),
        )

    return read_table(folder / "paired.csv", parse)


def read_bands(folder: Path) -> tuple[BandResult, ...]:
    """metrics/radius_bands.csv, the voxels of a loss's volumes together. Raises DataError."""
    volumes: dict[tuple[str, float, float], list[tuple[str, Counter[str]]]] = {}

    def parse(line: dict[str, str]) -> None:
        place = (line["loss"], float(line["from_um"]), float(line["to_um"]))
        counts = Counter({name: int(line[name]) for name in BAND_COUNTS})
        volumes.setdefault(place, []).append((f"{line['fold']} {line['id']}", counts))

    read_table(folder / "radius_bands.csv", parse)
    losses = list(dict.fromkeys(loss for loss, _, _ in volumes))
    return tuple(
        _band(*place, volumes[place]) for place in sorted(volumes, key=lambda one: (losses.index(one[0]), one[1]))
    )


def _band(loss: str, from_um: float, to_um: float, volumes: list[tuple[str, Counter[str]]]) -> BandResult:
    """`volumes` has a volume's name once for each seed."""
    counts: Counter[str] = sum((each for _, each in volumes), Counter())
    sensitivity = _share(counts["line_found"], counts["line"])
    precision = _share(counts["predicted_line_right"], counts["predicted_line"]) or 0.0
    both = (sensitivity or 0.0) + precision
    return BandResult(
        loss=loss,
        from_um=from_um,
        to_um=to_um,
        volumes=len({name for name, _ in volumes}),
        recall=_share(counts["label_found"], counts["label"]),
        centreline_dsc=None if sensitivity is None else 2 * precision * sensitivity / both if both else 0.0,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def read_calibration(folder: Path) -> tuple[CalibrationBin, ...]:
    """metrics/calibration.csv. Raises DataError."""

    def parse(line: dict[str, str]) -> CalibrationBin:
        return CalibrationBin(
            loss=line["loss"],
            voxels=int(line["voxels"]),
            mean_probability=float(line["mean_probability"]),
            vessel_share=float(line["vessel_share"]),
            calibration_error=float(line["calibration_error"]),
        )

    return read_table(folder / "calibration.csv", parse)


def read_curves(root: Path, cells: Sequence[CellName]) -> tuple[Curve, ...]:
    """The learning curves of `cells`, in metrics/training/. Raises DataError."""
    return tuple(_curve(file, cell) for file, cell in _of_cells(root / "metrics" / "training", cells, ".csv"))


def _curve(file: Path, cell: CellName) -> Curve:
    points = read_table(file, lambda line: (int(line["epoch"]), maybe(line["loss"]), maybe(line["validation_dsc"])))
    return Curve(
        **cell._asdict(),
        epochs=tuple(epoch for epoch, _, _ in points),
        training_loss=tuple(loss for _, loss, _ in points),
        validation_dsc=tuple(dsc for _, _, dsc in points),
    )


def read_trained(root: Path, cells: Sequence[CellName], runtime: Runtime) -> tuple[TrainedCell, ...]:
    """The cards of `cells`, in models/, with what their receipts say that the server made of them. Raises DataError."""
    return tuple(_trained(file, cell, runtime) for file, cell in _of_cells(root / "models", cells, ".json"))


def _trained(file: Path, cell: CellName, runtime: Runtime) -> TrainedCell:
    try:
        card = read_card(file)
    except OSError as error:
        raise unreadable(file, error) from error
    except DataError as error:  # also of a card that lacks what every version writes
        raise DamagedError(error.what, remedy=error.remedy, file=file, value=error.value) from error
    receipt = read_receipt(runtime.receipts, card.fingerprint, runtime.tracking_uri)
    return TrainedCell(cell=cell, card=card, receipt=receipt)


def _known(metric: str) -> str:
    if metric not in METRICS:
        raise ValueError("this version has no such metric")
    return metric


class _Pictured(BaseModel):
    """An entry of metrics/overlays.json (stages/evaluate/pictures/overlays.py)."""

    rank: str
    loss: str
    fold: int
    id: str
    metric: Annotated[str, AfterValidator(_known)]
    value: float
    slice_z: int
    depth: int
    sides_um: tuple[Length, Length]
    pictures: list[str]


_OVERLAYS = TypeAdapter(tuple[_Pictured, ...])


def read_overlays(folder: Path) -> tuple[Overlay, ...]:
    """metrics/overlays.json with the pictures that it names. Raises DataError."""
    file = folder / "overlays.json"
    try:
        entries = _OVERLAYS.validate_json(file.read_bytes())
        return tuple(_overlay(entry, file.parent / "overlays") for entry in entries)
    except UNREADABLE as error:
        raise unreadable(file, error) from error


def _overlay(entry: _Pictured, folder: Path) -> Overlay:
    panels: dict[str, list[Panel]] = {"slice": [], "projection": []}
    for name in entry.pictures:
        _, view, _, panel = Path(name).stem.split("_")  # best_slice_1_image
        panels[view].append(Panel(name=panel, png=_png(folder / Path(name).name)))
    height_um, width_um = entry.sides_um
    return Overlay(
        **entry.model_dump(exclude={"sides_um", "pictures"}),
        aspect=width_um / height_um,
        # the width is in the four bytes after the name of the first chunk
        pixels=int.from_bytes(panels["slice"][0].png[16:20], "big"),
        slice=tuple(panels["slice"]),
        projection=tuple(panels["projection"]),
    )


def _png(file: Path) -> bytes:
    content = file.read_bytes()
    if not content.startswith(PNG_START):
        raise ValueError(f"{file.name} is not a PNG file")
    return content


def data_uri(png: bytes) -> str:
    """`png` as the address of a picture that needs no second file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _of_cells(folder: Path, cells: Sequence[CellName], suffix: str) -> list[tuple[Path, CellName]]:
    """The cells' files that exist. Files of cells that params.yaml no longer lists do not count."""
    files = ((folder / f"{cell.place}{suffix}", cell) for cell in cells)
    return [(file, cell) for file, cell in files if file.is_file()]


def read_table(file: Path, parse: Callable[[dict[str, str]], Row]) -> tuple[Row, ...]:
    """The lines of a CSV file, each as `parse` takes it."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return tuple(parse(line) for line in csv.DictReader(stream))
    except UNREADABLE as error:
        raise unreadable(file, error) from error


def maybe(text: str) -> float | None:
    return finite(float(text)) if text else None


def finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def unreadable(file: Path, error: BaseException) -> DataError:
    name = _name(file)
    if isinstance(error, FileNotFoundError):
        return DataError(f"{name} is not there", file=file, remedy="run `dvc repro`, or `dvc pull` if it ran elsewhere")
    remedy = f"run `dvc checkout --force {name}`: DVC's cache has it as the stage left it"
    if isinstance(error, ValidationError):
        return stored.unreadable(error, name, file=file, remedy=remedy)
    return DamagedError(f"{name} cannot be read", file=file, value=_why(error), remedy=remedy)


def _name(file: Path) -> str:
    """`file` from the workspace on: below metrics/ or models/."""
    parts = file.parts
    top = max(index for index, part in enumerate(parts) if part in ("metrics", "models"))
    return "/".join(parts[top:])


def _why(error: BaseException) -> str:
    """What `error` says; of a missing key Python's own text is the key alone."""
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
