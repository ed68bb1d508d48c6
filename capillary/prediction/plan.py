"""From a request to a plan: the stage `predict`, planned as any stage is, though no entry of dvc.yaml declares it.

A prediction is not part of the pipeline: its stacks are nobody's deps and its masks nobody's outs. What it may touch is
declared here instead, and the same executors hold it to that.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from capillary.compute.computing import stage_compute
from capillary.executors.choose import Executor
from capillary.params_file import listed_cells, read_params_file, refuse_unknown_keys
from capillary.planning.access import read_access
from capillary.planning.make_plan import plan_stage
from capillary.planning.plan import CODE_FOLDER, Dep, StagePlan, StageRequest
from capillary.prediction.cards import choose_cards
from capillary.prediction.components import chosen_size_um3
from capillary.prediction.mounts import mounted
from capillary.settings import Settings
from stages.common.machine.limits import Limits, find_limits
from stages.common.params import validate_params
from stages.common.requests.prediction.records import SURVEY_FILE
from stages.common.requests.prediction.request import PredictRequest, StackRequest
from stages.predict.params import PredictParams

STAGE = "predict"
OUTPUT = "prediction"  # where the stage leaves what is published, whatever its names are outside


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What `predict` has in place of an entry in dvc.yaml. Satisfies planning.plan.Declared."""

    root: Path
    cards: tuple[str, ...]
    files: tuple[str, ...]
    visible: Mapping[str, Any]
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def deps(self) -> list[str]:
        """Its code with all of stages/common, and the model cards. The stacks are added by plan_prediction."""
        return [f"{CODE_FOLDER}/__init__.py", f"{CODE_FOLDER}/common", f"{CODE_FOLDER}/{STAGE}", *self.cards]

    @property
    def outs(self) -> list[str]:
        """Files in the stage's working folder; they are published to where the user wants them."""
        return list(self.files)

    @property
    def cache_dir(self) -> Path:
        """DVC's cache. Cards that are links into it are followed before they are handed on."""
        return self.root / ".dvc" / "cache"

    def params(self) -> dict[str, Any]:
        """Nested as in params.yaml."""
        return dict(self.visible)

    def dep_hashes(self) -> dict[str, str]:
        """What tells one run from another where a job has to be found again; else none, since nothing is recorded."""
        return dict(self.hashes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """The run of the stage, and the `request` with the paths that it has there."""

    stage: StagePlan
    request: PredictRequest

    @property
    def run(self) -> StagePlan:
        """The run of a stage whose order holds the request."""
        order = dataclasses.replace(self.stage.order, request=self.request.model_dump(mode="json"))
        return dataclasses.replace(self.stage, order=order)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOf:
    """How one run differs from that of a whole request on this machine.

    `address` names it, `hashes` tell it from others (spread/traces.py), and `deps` are what it reads besides.
    """

    address: str = STAGE
    hashes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    deps: tuple[Dep, ...] = ()
    limits: Callable[[], Limits] = find_limits


def plan_prediction(
    request: PredictRequest, root: Path, settings: Settings, executor: Executor, run: RunOf | None = None
) -> PredictPlan:
    """The plan of `request`, whose paths are this process's. Raises CapillaryError for models and params that do not
    suit.

    A folder that is absolute is the stage's to write to while it runs; OUTPUT itself is an out, published at the end.
    """
    run = run or RunOf()
    cards = cards_of(request, root)
    deps, images = mounted([stack.image for stack in request.stacks])
    stacks = tuple(
        _inside(stack.model_copy(update=choices_of(root)), image, request, number)
        for number, (stack, image) in enumerate(zip(request.stacks, images, strict=True))
    )
    entry = Prediction(
        root=root,
        cards=cards,
        files=_outs(request, stacks),
        visible=visible_params(request, root, cards),
        hashes=run.hashes,
    )
    access = read_access(root, STAGE)
    asked = StageRequest(stage=STAGE, address=run.address, argv=(), root=root, repository=root)
    identity = executor.environment_id(root, STAGE, access)
    compute = stage_compute(root, settings, lambda: executor.gpus(settings), run.limits)
    plan = plan_stage(asked, entry, access, settings, identity, compute)
    followed = (dataclasses.replace(dep, host=dep.host and dep.host.resolve()) for dep in plan.deps)
    own = (request.folder,) if request.folder is not None and request.folder.is_absolute() else ()
    return PredictPlan(
        stage=dataclasses.replace(plan, deps=(*followed, *deps, *run.deps), writable=(*plan.writable, *own)),
        request=request.model_copy(update={"stacks": stacks, "cards": tuple(map(Path, cards))}),
    )


def cards_of(request: PredictRequest, root: Path) -> tuple[str, ...]:
    """The model cards that `request` means, relative to `root`; none where it names a model of the registry."""
    if request.model:
        return ()
    cells = listed_cells(read_params_file(root))
    return choose_cards(root, request.loss, request.folds, cells, request.seeds)


def choices_of(root: Path) -> dict[str, Any]:
    """Which channel, and which level of a pyramid, the networks were trained on; None where params.yaml names none."""
    ingest = read_params_file(root).get("ingest") or {}
    level_um = ingest.get("level_um")
    return {"channel": ingest.get("channel"), "level_um": tuple(level_um) if level_um else None}


def _outs(request: PredictRequest, stacks: Sequence[StackRequest]) -> tuple[str, ...]:
    """What the stage leaves when it ends well, relative to its working folder."""
    if request.folder is not None:
        return () if request.folder.is_absolute() else (str(request.folder),)
    (stack,) = stacks
    if request.blocks is None:
        return tuple(map(str, stack.files))
    if request.blocks.step == "survey":
        return (str(stack.mask.with_name(SURVEY_FILE)),)
    mask = (stack.mask,) if request.blocks.cleans else ()
    return tuple(map(str, (*mask, *((stack.picture,) if stack.picture else ()))))


def _inside(stack: StackRequest, image: Path, request: PredictRequest, number: int) -> StackRequest:
    """`stack` with the paths that the stage sees; of many, each has its own folder for its files."""
    place = Path(OUTPUT) if request.folder is None else request.folder
    if request.folder is not None and request.blocks is None:
        place /= f"{number:05}"
    moved = {
        name: place / file.name
        for name in ("mask", "probability", "picture")
        if (file := getattr(stack, name)) is not None
    }
    return stack.model_copy(update={"image": image, **moved})


def visible_params(request: PredictRequest, root: Path, cards: tuple[str, ...]) -> dict[str, Any]:
    """What the stage sees of params.yaml, with what the command line says instead."""
    refuse_unknown_keys(root)
    given = read_params_file(root).get("evaluation") or {}
    fields: Any = PredictParams.model_fields["evaluation"].annotation
    seen = {key: value for key, value in given.items() if key in fields.model_fields}
    if request.threshold is not None:
        seen["threshold"] = request.threshold
    if request.min_component_um3 is not None:
        seen["min_component_um3"] = request.min_component_um3
    elif seen.get("min_component_um3") == "auto":
        seen["min_component_um3"] = chosen_size_um3(root, PurePath(cards[0]).parts[1] if cards else None)
    validate_params(PredictParams, {"evaluation": seen}, "params.yaml")
    return {"evaluation": seen}
