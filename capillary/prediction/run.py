"""From a wish to a mask: the stage `predict`, planned as any stage is, though no entry of dvc.yaml declares it.

A prediction is no part of the pipeline: its stack is nobody's dep and its mask nobody's out. What it may touch is
declared here instead, and the same executors hold it to that.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from capillary.compute.computing import stage_compute
from capillary.launcher.access import read_access
from capillary.launcher.plan import CODE_FOLDER, Dep, StagePlan, StageRequest, plan_stage
from capillary.launcher.publish import publish_file
from capillary.launcher.run import Executor, choose_executor
from capillary.launcher.stop import Stop
from capillary.params_file import listed_cells, read_params_file, refuse_unknown_keys
from capillary.prediction.cards import choose_cards
from capillary.prediction.components import chosen_size_um3
from capillary.prediction.wish import Wish, check_wish
from capillary.settings import Settings, read_settings
from stages.common.params import validate_params
from stages.common.progress import say
from stages.predict.params import PredictParams

STAGE = "predict"
# where the stage finds the stack and leaves what it makes, whatever their names are outside
INPUT, OUTPUT = "input", "prediction"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What `predict` has in place of an entry in dvc.yaml. Satisfies launcher.plan.Declared."""

    root: Path
    cards: tuple[str, ...]
    files: tuple[str, ...]
    visible: Mapping[str, Any]

    @property
    def deps(self) -> list[str]:
        """Its code with all of stages/common, and the model cards. The stack is added by plan_prediction."""
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
        """None are needed: nothing is recorded as made from them."""
        return {}


def run_prediction(wish: Wish, root: Path, stop: Stop) -> int:
    """Predict, and publish what was wished for once all of it is there; returns the exit code."""
    check_wish(wish)
    settings = read_settings(root)
    executor = choose_executor(settings)
    plan = plan_prediction(wish, root, settings, executor)

    def publish(work: Path) -> None:
        for out, target in zip(plan.outs, wish.files, strict=True):
            publish_file(work / out, target.absolute())
        say(f"wrote {', '.join(map(str, wish.files))}")

    return executor.execute(plan, stop, publish)


def plan_prediction(wish: Wish, root: Path, settings: Settings, executor: Executor) -> StagePlan:
    """The plan of `wish`. Raises CapillaryError for models and params that do not suit."""
    cells = listed_cells(read_params_file(root))
    cards = () if wish.model else choose_cards(root, wish.loss, wish.folds, cells)
    entry = Prediction(
        root=root,
        cards=cards,
        files=tuple(f"{OUTPUT}/{file.name}" for file in wish.files),
        visible=visible_params(wish, root, cards),
    )
    access = read_access(root, STAGE)
    request = StageRequest(stage=STAGE, address=STAGE, argv=argv_of(wish, cards), root=root, repository=root)
    identity = executor.environment_id(root, STAGE, access)
    compute = stage_compute(root, settings, lambda: executor.gpus(settings))
    plan = plan_stage(request, entry, access, settings, identity, compute)
    stack = Dep(name=f"{INPUT}/{wish.image.name}", host=wish.image.resolve())
    followed = (dataclasses.replace(dep, host=dep.host and dep.host.resolve()) for dep in plan.deps)
    return dataclasses.replace(plan, deps=(*followed, stack))


def visible_params(wish: Wish, root: Path, cards: tuple[str, ...]) -> dict[str, Any]:
    """What the stage sees of params.yaml, with what the command line says instead."""
    refuse_unknown_keys(root)
    given = read_params_file(root).get("evaluation") or {}
    fields: Any = PredictParams.model_fields["evaluation"].annotation
    seen = {key: value for key, value in given.items() if key in fields.model_fields}
    if wish.threshold is not None:
        seen["threshold"] = wish.threshold
    if wish.min_component_um3 is not None:
        seen["min_component_um3"] = wish.min_component_um3
    elif seen.get("min_component_um3") == "auto":
        seen["min_component_um3"] = chosen_size_um3(root, PurePath(cards[0]).parent.name if cards else None)
    validate_params(PredictParams, {"evaluation": seen}, "params.yaml")
    return {"evaluation": seen}


def argv_of(wish: Wish, cards: tuple[str, ...]) -> tuple[str, ...]:
    """The stage's command line (stages/predict/order.py)."""
    words = [f"{INPUT}/{wish.image.name}", f"{OUTPUT}/{wish.mask.name}"]
    words += [word for card in cards for word in ("--card", card)]
    if wish.model:
        words += ["--model", wish.model]
    if wish.spacing_um:
        words += ["--spacing-um", *(repr(float(size)) for size in wish.spacing_um)]
    if wish.probability_file:
        words += ["--probability", f"{OUTPUT}/{wish.probability_file.name}"]
    if wish.picture_file:
        words += ["--picture", f"{OUTPUT}/{wish.picture_file.name}"]
    return tuple(words)
