"""All that a report shows, as values. What is missing is empty, and `Report.notes` says why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.common.cell_name import CellName
from stages.common.errors import DamagedError
from stages.common.metrics import METRICS, Metric
from stages.common.requests.report import ReportPart, ReportRequest
from stages.common.statistics.results import Difference, Interval
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.receipts import Receipt
from stages.report.registered import NOTHING, Registered, Samples

Means = Mapping[str, Mapping[str, Interval]]  # loss → metric → its mean


@dataclass(frozen=True, kw_only=True)
class OfCell:
    """What belongs to one training. `seed` is an additional one; None: training.seed."""

    loss: str
    fold: int
    seed: int | None = None

    @property
    def cell(self) -> CellName:
        """Which training."""
        return CellName(self.loss, self.fold, self.seed)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What a partial evaluation lacks. `volumes` says over how many of a loss's `of_volumes` its means run."""

    missing: tuple[CellName, ...]
    volumes: Mapping[str, int]
    of_volumes: int


@dataclass(frozen=True, kw_only=True)
class VolumeResult:
    """One volume under the network that never saw it."""

    loss: str
    fold: int
    id: str
    group: str  # the volume's own id where it is of no group
    values: Mapping[str, float]  # metric → value, in the order of params.yaml; NaN if it could not be measured
    rule: str
    labelled_share: float = 1.0  # of its voxels; nothing else counts
    seed: int | None = None  # None: all networks are of one seed


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The figures of a loss on held-out volumes, by metric: the ensemble's, and means of single networks."""

    ensemble: Mapping[str, Interval]
    folds: Mapping[str, float | None]
    networks: int
    volumes: int
    groups: int


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A row of metrics/spread.csv: standard deviations of the mean; None if there is one seed, or one fold."""

    loss: str
    metric: str
    seeds: int
    over_seeds: float | None
    folds: int
    over_folds: float | None


@dataclass(frozen=True, kw_only=True)
class BandResult:
    """Vessels of similar radius (µm; the last band has no upper end) under one loss, over the voxels of all volumes."""

    loss: str
    from_um: float
    to_um: float
    volumes: int  # that have such vessels
    recall: float | None
    centreline_dsc: float | None


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """A row of metrics/calibration.csv: voxels of similar probability, and the loss's error over all bins."""

    loss: str
    voxels: int
    mean_probability: float
    vessel_share: float
    calibration_error: float


@dataclass(frozen=True, kw_only=True)
class Curve(OfCell):
    """A training, epoch by epoch; None if there was no step or no validation."""

    epochs: tuple[int, ...]
    training_loss: tuple[float | None, ...]
    validation_dsc: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class TrainedCell:
    """A network's card; `receipt` is what a server made of it, None if that is not known."""

    cell: CellName
    card: ModelCard
    receipt: Receipt | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a view: image, label, prediction or error."""

    name: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """A volume in pictures. `aspect` is width over height in µm, `pixels` the width in pixels."""

    rank: str
    loss: str
    fold: int
    id: str
    metric: str  # by which volumes are ranked
    value: float
    slice_z: int
    depth: int
    aspect: float
    pixels: int
    slice: tuple[Panel, ...]
    projection: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """An MLflow run. `fold` is None for the evaluation; `url` where a server shows it."""

    run_id: str
    loss: str | None
    fold: int | None
    status: str
    seconds: float | None
    url: str | None
    samples: Mapping[str, Samples]  # system metric → curve
    seed: int | None = None  # another one

    @property
    def cell(self) -> CellName | None:
        """Whose it is; None for the evaluation."""
        return None if self.loss is None or self.fold is None else CellName(self.loss, self.fold, self.seed)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One report. Orders are those of the files: losses as in params.yaml. `asked` is what the host knows."""

    asked: ReportRequest
    metrics: Means
    differences: tuple[Difference, ...]
    volumes: tuple[VolumeResult, ...]
    bands: tuple[BandResult, ...]
    calibration: tuple[CalibrationBin, ...]
    curves: tuple[Curve, ...]
    trained: tuple[TrainedCell, ...]
    overlays: tuple[Overlay, ...]
    runs: tuple[TrackedRun, ...]
    notes: Mapping[ReportPart, str]  # the host's among them
    coverage: Coverage | None = None  # None: every cell was measured
    held_out: Mapping[str, HeldOut] = field(default_factory=dict)  # by loss; none if no volume is held out
    spreads: tuple[Spread, ...] = ()
    registered: Registered = NOTHING
    damaged: tuple[DamagedError, ...] = ()  # files that are there and cannot be read

    @property
    def losses(self) -> tuple[str, ...]:
        """Every loss with any results."""
        names = [*self.metrics, *(one.cell.loss for one in self.trained), *(curve.loss for curve in self.curves)]
        return tuple(dict.fromkeys(names))

    @property
    def shown(self) -> tuple[Metric, ...]:
        """What was measured, in the order of params.yaml."""
        measured = [*self.metrics.values(), *(volume.values for volume in self.volumes)]
        return tuple(self.metric(name) for name in (measured[0] if measured else ()))

    def metric(self, name: str) -> Metric:
        """The metric `name` as this report calls it."""
        return METRICS[name].within(self.asked.nsd_tolerance_um)

    @property
    def lead(self) -> Metric:
        """The metric that ranks losses and volumes: the first; DSC where nothing was measured."""
        return next(iter(self.shown), METRICS["dsc"])

    @property
    def best(self) -> str | None:
        """The loss with the best mean in the first metric; of equals the first.

        None if cells are missing and several losses were measured: their means are over different volumes.
        """
        if self.coverage is not None and len(self.metrics) > 1:
            return None
        means = {loss: found[self.lead.name].mean for loss, found in self.metrics.items()}
        sign = 1 if self.lead.less_is_better else -1
        known = {loss: sign * mean for loss, mean in means.items() if mean is not None}
        return min(known, key=lambda loss: known[loss]) if known else None

    @property
    def calibration_by_loss(self) -> dict[str, list[CalibrationBin]]:
        """Loss → its bins, in the order of probability."""
        losses = dict.fromkeys(one.loss for one in self.calibration)
        return {loss: [one for one in self.calibration if one.loss == loss] for loss in losses}

    @property
    def calibration_errors(self) -> dict[str, float]:
        """Loss → its expected calibration error."""
        return {loss: bins[0].calibration_error for loss, bins in self.calibration_by_loss.items()}

    @property
    def has_seeds(self) -> bool:
        """Whether networks of several seeds were measured."""
        return any(volume.seed is not None for volume in self.volumes)

    @property
    def folds(self) -> tuple[int, ...]:
        """Folds that held a volume out."""
        return tuple(sorted({volume.fold for volume in self.volumes}))
