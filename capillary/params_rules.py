"""Rules of params.yaml that no single stage can check: names of losses and networks, and keys that must agree.

The names are read from the catalogues' source, because importing them needs torch, which the host side may lack.
"""

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common.dataset.hub import SCHEME
from stages.common.errors import ParamsError
from stages.common.params import nearest
from stages.common.splits import asks_for_drawn_folds

_STAGES = Path(inspect.getfile(ParamsError)).parents[1]
LOSS_CATALOGUE = ("train/losses/catalogue.py", "LOSSES")
NETWORK_CATALOGUE = ("common/networks/catalogue.py", "ARCHITECTURES")


def has_rules(root: Path) -> bool:
    """Whether the rules are those of the project `root`: not of one that has other stages.

    A folder without stages is checked as the stages of this program would.
    """
    return not (root / "stages").is_dir() or (root / "stages" / LOSS_CATALOGUE[0]).is_file()


def check_rules(params: Mapping[str, Any], root: Path, origin: str) -> None:
    """Raise ParamsError for the first rule that `params` breaks. Their types must have been checked before."""
    for rule in (_source, _losses, _network, _folds, _volumes, _share, _small_parts):
        rule(params, root, origin)


def names_in(catalogue: tuple[str, str]) -> list[str]:
    """The keys of the dict that a catalogue's file assigns to its name; nothing if only Python could tell them."""
    file, variable = catalogue
    for node in ast.parse((_STAGES / file).read_text()).body:
        if (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.target) == variable
            and isinstance(node.value, ast.Dict)
            and all(isinstance(key, ast.Constant) for key in node.value.keys)
        ):
            return [str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)]
    return []


def _source(params: Mapping[str, Any], _root: Path, origin: str) -> None:
    """DVC refuses a dvc.yaml with hf:// in it, so the source is a file that pins the data set."""
    source = str(_section(params, "ingest").get("source"))
    if source.startswith(f"{SCHEME}://"):
        remedy = f"run capillary dataset pin {source}, and name the file that it writes (docs/datasets.md)"
        raise _broken(origin, "ingest.source", source, remedy, "DVC cannot track hf:// itself")


def _losses(params: Mapping[str, Any], _root: Path, origin: str) -> None:
    for name in _section(params, "training").get("losses") or ():
        _refuse_unknown(name, names_in(LOSS_CATALOGUE), "training.losses", "docs/losses.md lists the losses", origin)


def _network(params: Mapping[str, Any], _root: Path, origin: str) -> None:
    name = _section(params, "training").get("architecture")
    if name is not None:
        remedy = "docs/adding-a-model.md says how to add one"
        _refuse_unknown(name, names_in(NETWORK_CATALOGUE), "training.architecture", remedy, origin)


def _folds(params: Mapping[str, Any], root: Path, origin: str) -> None:
    """Trained folds exist, counted from 0; a drawn set has at least two."""
    preprocess, folds = _section(params, "preprocess"), _section(params, "training").get("folds") or ()
    number = preprocess.get("num_folds")
    if number is None:
        return
    if number < 2 and _are_drawn(preprocess, root):
        raise _broken(
            origin,
            "preprocess.num_folds",
            number,
            "a single fold would train on no volume: set it to 2 or more, or name a splits file of your own",
        )
    if unknown := [fold for fold in folds if fold >= number]:
        remedy = f"folds count from 0: train some of {list(range(number))}, or raise preprocess.num_folds"
        raise _broken(origin, "training.folds", f"{unknown}, of preprocess.num_folds: {number}", remedy)


def _volumes(params: Mapping[str, Any], root: Path, origin: str) -> None:
    """A rehearsal on the first volumes has one for each fold."""
    preprocess = _section(params, "preprocess")
    most, number = preprocess.get("max_volumes"), preprocess.get("num_folds")
    if most is not None and number is not None and most < number and _are_drawn(preprocess, root):
        remedy = f"{number} folds need {number} volumes: raise it, or lower preprocess.num_folds (and training.folds)"
        raise _broken(origin, "preprocess.max_volumes", most, remedy)


def _share(params: Mapping[str, Any], root: Path, origin: str) -> None:
    """A share of the groups is drawn only where folds are."""
    preprocess = _section(params, "preprocess")
    groups = preprocess.get("test_groups")
    is_there = (root / str(preprocess.get("splits_file"))).is_file()
    if isinstance(groups, Mapping) and is_there and not _are_drawn(preprocess, root):
        remedy = "list the groups that no fold of the splits file names: [NAME, …]"
        raise _broken(origin, "preprocess.test_groups", dict(groups), remedy)


def _small_parts(params: Mapping[str, Any], _root: Path, origin: str) -> None:
    """`auto` chooses the size on the other folds."""
    is_auto = _section(params, "evaluation").get("min_component_um3") == "auto"
    if is_auto and len(_section(params, "training").get("folds") or (0, 1)) < 2:
        remedy = "auto chooses a size on the other folds: train two folds or more, or write a number or null"
        raise _broken(origin, "evaluation.min_component_um3", "auto", remedy)


def _are_drawn(preprocess: Mapping[str, Any], root: Path) -> bool:
    return asks_for_drawn_folds(root / str(preprocess.get("splits_file")))


def _section(params: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = params.get(name)
    return section if isinstance(section, Mapping) else {}


def _refuse_unknown(name: object, known: list[str], key: str, remedy: str, origin: str) -> None:
    if known and name not in known:
        guess = nearest(str(name), known)
        raise _broken(origin, key, name, f"correct it: {remedy}", f"there is no `{name}`; {guess}")


def _broken(
    origin: str, key: str, value: object, remedy: str, what: str = "does not fit the other keys"
) -> ParamsError:
    return ParamsError(f"{origin} `{key}`: {what}", remedy=remedy, file=origin, value=value)
