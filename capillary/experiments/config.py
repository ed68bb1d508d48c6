"""An experiment file: a name, a set of overrides on params.yaml, and how to run; refused early when a key is wrong.

experiment:
  name: vesselnn
  description: six two-photon stacks of rodent brain
ingest:
  source: ../my-stacks
training:
  max_epochs: 40
compute:
  profile: auto
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capillary.experiments.sections import Debug, Sections
from capillary.params_file import leaf_keys, whole_values
from capillary.params_rules import LOSS_CATALOGUE, names_in
from capillary.yaml_file import read_yaml
from stages.common.errors import ParamsError
from stages.common.params import RETIRED_KEYS, nearest, validate_params

FOLDS = "training.num_folds"
# a key under the name that people look for → the key of params.yaml that it stands for
MEANT = {FOLDS: "preprocess.num_folds", "training.splits_file": "preprocess.splits_file"}
MOST_FOLDS = 10_000  # networks of a training
DRAWN = "configs/splits/generated.json"
OVERRIDES = "overrides"  # the name of a file in the folder of the experiments' records


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A checked experiment file. `overrides` maps dotted params keys to values."""

    sections: Sections
    overrides: dict[str, Any]

    @property
    def name(self) -> str:
        """The name to run under; a rehearsal never takes the place of the real thing."""
        head = self.sections.experiment.name
        return f"{head}-debug" if self.sections.debug.enabled else head


def read_experiment(
    file: Path, params: dict[str, Any], *, debug: bool = False, declared: Collection[str] = ()
) -> ExperimentConfig:
    """`file` as overrides of `params` (params.yaml); ParamsError names an unknown key and the nearest known one.

    `debug` switches the file's debug section on. `declared` are keys of dvc.yaml, whose values may be mappings.
    """
    if not file.is_file():
        known = ", ".join(sorted(str(path) for path in Path("configs/experiments").glob("*.yaml")))
        raise ParamsError("there is no such experiment file", file=file, remedy=f"name one of: {known}")
    tree = read_yaml(file)
    own = {name: tree.pop(name) for name in Sections.model_fields if name in tree}
    _require_name(file, own.get("experiment"))
    if debug and isinstance(own.get("debug"), dict | None):  # anything else is refused below
        own["debug"] = {**(own.get("debug") or {}), "enabled": True}
    sections = validate_params(Sections, own, str(file))
    _refuse_taken_name(file, sections.experiment.name)
    _refuse_dotted_twice(file, tree)
    keys = [*dict.fromkeys([*leaf_keys(params), *declared])]
    overrides = whole_values(tree, declared or keys)
    _refuse_unknown(file, overrides, keys)
    _refuse_said_twice(file, overrides)
    overrides = _spelled_out(file, overrides)
    if sections.debug.enabled:
        with contextlib.suppress(TypeError, KeyError):  # the check of values names what is wrong or missing
            overrides |= _rehearsal(sections.debug, with_overrides(params, overrides))
    return ExperimentConfig(sections=sections, overrides=overrides)


def with_overrides(params: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A copy of `params` with `overrides` applied."""
    merged = copy.deepcopy(params)
    for key, value in overrides.items():
        put(merged, key, value)
    return merged


def put(tree: Any, key: str, value: Any) -> None:
    """Set the dotted `key` of the nested mapping `tree`."""
    *sections, last = key.split(".")
    for section in sections:
        tree = tree[section]
    tree[last] = value


def get(tree: Any, key: str) -> Any:
    """The value of the dotted `key` in the nested mapping `tree`; KeyError when it is not there."""
    for section in key.split("."):
        tree = tree[section]
    return tree


def _require_name(file: Path, head: object) -> None:
    if not isinstance(head, dict) or "name" not in head:
        raise ParamsError(
            "the experiment has no name",
            file=file,
            value=head,
            remedy="write `experiment:` and below it `name: …` in it",
        )


def _refuse_taken_name(file: Path, name: str) -> None:
    """capillary-<loss> holds that loss's networks, and could not hold the trainings of an experiment, too.

    overrides.json is next to the experiments' records (workspace.py), also on a disk that ignores case.
    """
    if name.casefold() == OVERRIDES:
        raise ParamsError(
            f"{file} [experiment] `name`: {name} is reserved for what experiments change in params.yaml",
            file=file,
            remedy=f"choose another name, such as {name}_trial",
            value=name,
        )
    if name in names_in(LOSS_CATALOGUE):
        raise ParamsError(
            f"{file} [experiment] `name`: {name} is the name of a loss, and that loss's networks are registered under "
            f"it",
            file=file,
            remedy=f"choose another name, such as {name}_trial",
            value=name,
        )


def _refuse_dotted_twice(file: Path, tree: dict[str, Any]) -> None:
    """Of `training.seed: 1` and `seed: 2` below `training:`, neither is guessed."""
    counted = Counter(leaf_keys(tree))
    if twice := next((key for key, times in counted.items() if times > 1), None):
        raise ParamsError(
            f"{file} names `{twice}` twice, once with a dot", file=file, remedy="remove one of the two lines"
        )


def _refuse_unknown(file: Path, overrides: dict[str, Any], keys: Sequence[str]) -> None:
    known = [*keys, *MEANT]
    sections = [f"{name}." for name in Sections.model_fields]
    for key in overrides:
        if key in RETIRED_KEYS and key not in known:
            raise ParamsError(
                f"{file} `{key}` is no longer a key: {RETIRED_KEYS[key]}", file=file, remedy=f"remove `{key}`"
            )
        if key not in known and any(other.startswith(f"{key}.") for other in known):
            raise ParamsError(
                f"{file} [{key}] holds no keys",
                file=file,
                value=overrides[key],
                remedy=f"write its keys below `{key}:`, or remove the line",
            )
        if key not in known:
            raise ParamsError(
                f"{file} unknown key `{key}`; {nearest(key, [*known, *sections])}",
                file=file,
                remedy=f"rename or remove `{key}`: an experiment file overrides keys of params.yaml",
            )


def _refuse_said_twice(file: Path, overrides: dict[str, Any]) -> None:
    """Of two names of one key with different values, neither is guessed."""
    for key, meant in MEANT.items():
        if key in overrides and overrides.get(meant, overrides[key]) != overrides[key]:
            raise ParamsError(
                f"{file} `{key}` and `{meant}` are the same key, and their values differ",
                file=file,
                value=f"{overrides[key]} and {overrides[meant]}",
                remedy="remove one of the two lines",
            )


def _spelled_out(file: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """`overrides` in keys of params.yaml only. A number of folds trains so many, unless some are named."""
    number = overrides.get(FOLDS)
    if isinstance(number, int) and number > MOST_FOLDS:
        raise ParamsError(
            f"{file} `{FOLDS}` is larger than {MOST_FOLDS:,}",
            file=file,
            value=number,
            remedy="write the number of folds: at most the number of groups, 3 to 5 in general",
        )
    spelled = {MEANT.get(key, key): value for key, value in overrides.items()}
    if isinstance(number, int):  # anything else is refused with the key that it was spelled out to
        spelled.setdefault("training.folds", list(range(number)))
    return spelled


def _rehearsal(debug: Debug, params: dict[str, Any]) -> dict[str, Any]:
    """Overrides for a short run of the same pipeline: the first folds are trained, on the first volumes.

    There are as many folds as in the whole run, as far as so few volumes give, and two where it has one of its own.
    """
    training, preprocess = params["training"], params["preprocess"]
    volumes = min(debug.max_volumes, preprocess["max_volumes"] or debug.max_volumes)
    number = max(2, min(preprocess["num_folds"], volumes))
    folds = [fold for fold in training["folds"] if fold < number] or list(range(number))
    return {
        "training.max_epochs": debug.max_epochs,
        "training.warmup_epochs": min(training["warmup_epochs"], debug.max_epochs - 1),
        "training.folds": folds[: debug.num_folds],
        **({"training.seeds": training["seeds"][:1]} if training.get("seeds") else {}),
        "preprocess.max_volumes": volumes,
        **({"preprocess.num_folds": number} if number != preprocess["num_folds"] else {}),
        "preprocess.splits_file": DRAWN,  # one's own file names volumes that may be left out
    }
