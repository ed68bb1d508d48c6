"""params.yaml as a whole: every key is one that a stage of dvc.yaml reads, and every value is one that it takes."""

import importlib
import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from capillary.params_models import load_model
from capillary.params_rules import check_rules, has_rules
from capillary.yaml_file import leaves, read_yaml
from stages.common.cell_name import CellName, every_cell
from stages.common.errors import ParamsError
from stages.common.params import RETIRED_KEYS, nearest, validate_params


def declared_keys(root: Path) -> dict[str, list[str]]:
    """The dotted keys of params.yaml that each stage of dvc.yaml declares."""
    # an item that is not a string names another file
    return {
        name: [key for key in entry.get("params") or [] if isinstance(key, str)]
        for name, entry in _entries(root).items()
    }


def known_keys(root: Path) -> set[str]:
    """The dotted keys of params.yaml that any stage of dvc.yaml declares."""
    return {key for keys in declared_keys(root).values() for key in keys}


def _entries(root: Path) -> dict[str, dict[str, Any]]:
    stages = read_yaml(root / "dvc.yaml").get("stages") or {}
    return {name: entry.get("do", entry) for name, entry in stages.items()}


def _own_stages(root: Path) -> list[str]:
    """The entries of dvc.yaml that run the stage of their name; another's `train` may run its own script."""
    commands = {name: entry.get("cmd") or "" for name, entry in _entries(root).items()}
    lines = {name: cmd if isinstance(cmd, list) else [cmd] for name, cmd in commands.items()}
    return [name for name, cmd in lines.items() if any(f"capillary stage {name}" in str(line) for line in cmd)]


def read_params_file(root: Path) -> dict[str, Any]:
    """params.yaml of the workspace `root`."""
    return read_yaml(root / "params.yaml")


def listed_cells(params: Mapping[str, Any]) -> tuple[CellName, ...]:
    """Each cell that `params` has trained, in their order; none if the lists are missing or no lists."""
    training = params.get("training")
    keys = ("losses", "folds", "seeds")
    losses, folds, seeds = (training.get(key) if isinstance(training, Mapping) else None for key in keys)
    if not isinstance(losses, list) or not isinstance(folds, list):
        return ()
    return every_cell([str(loss) for loss in losses], _counts(folds), _counts(seeds))


def _counts(values: object) -> list[int]:
    """The whole numbers from 0 in the list `values`; none if it is not a list."""
    return [int(value) for value in values if str(value).isdecimal()] if isinstance(values, list) else []


def leaf_keys(tree: dict[str, Any]) -> Iterator[str]:
    """The dotted keys of the values in `tree` (a list is a value)."""
    return (key for key, _ in leaves(tree))


def whole_values(tree: dict[str, Any], declared: Collection[str]) -> dict[str, Any]:
    """The leaves of `tree`, in which a mapping that is the value of a declared key is one value, not a section.

    A stage may declare a whole section (`train`): that is no such key.
    """
    whole: dict[str, Any] = {}
    for key, value in leaves(tree):
        owner = next((other for other in declared if "." in other and key.startswith(f"{other}.")), None)
        if owner is None:
            whole[key] = value
        else:
            whole.setdefault(owner, {})[key.removeprefix(f"{owner}.")] = value
    return whole


def refuse_unknown_keys(root: Path) -> None:
    """Raise ParamsError for the first key of params.yaml that no stage declares: most often a spelling mistake."""
    known, params = known_keys(root), read_params_file(root)
    _refuse_dotted(params)
    for key, value in leaves(params):
        if any(other.startswith(f"{key}.") for other in known):
            raise ParamsError(
                f"params.yaml [{key}] holds no keys",
                file="params.yaml",
                value=value,
                remedy=f"write its keys below `{key}:`",
            )
        if not any(key == other or key.startswith(f"{other}.") for other in known):
            raise _unknown_key(key, known)


def _refuse_dotted(params: Mapping[str, Any]) -> None:
    """`training.seed: 7` is how -S and messages write a key; in the file it is another one, which nobody reads."""
    for key in params:
        section, dot, name = str(key).partition(".")
        if dot:
            raise ParamsError(
                f"params.yaml `{key}` is a key with a dot in its name, which nobody reads",
                file="params.yaml",
                value=params[key],
                remedy=f"write `{name}:` below `{section}:`, and remove this line",
            )


def _unknown_key(key: str, known: Iterable[str]) -> ParamsError:
    if key in RETIRED_KEYS:
        return ParamsError(
            f"params.yaml `{key}` is no longer a key: {RETIRED_KEYS[key]}", remedy=f"remove `{key}`", file="params.yaml"
        )
    section, _, name = key.rpartition(".")
    sections = sorted({other.partition(".")[0] for other in known})
    if key.partition(".")[0] not in sections:
        return _unknown_section(key.partition(".")[0], key, sections, known)
    siblings = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
    place = f"params.yaml [{section}]" if section else "params.yaml"
    return ParamsError(
        f"{place} unknown key `{name}`; {nearest(name, siblings or sorted(known))}",
        remedy=f"rename or remove `{key}`, or declare it under a stage's params in dvc.yaml",
        file="params.yaml",
    )


def _unknown_section(section: str, key: str, sections: list[str], known: Iterable[str]) -> ParamsError:
    names = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
    guess = nearest(key, [*sections, *known]) if section == key else nearest(section, sections)
    if guess.startswith("known") and names:
        guess = f"did you mean `{names[0]}`?"
    elif guess.startswith("known"):
        guess = f"known: {', '.join(sections)}"
    return ParamsError(
        f"params.yaml unknown {'key' if section == key else 'section'} `{section}`; {guess}",
        remedy=f"rename or remove `{key}`, or declare it under a stage's params in dvc.yaml",
        file="params.yaml",
    )


def check_params(root: Path) -> None:
    """Raise ParamsError for an unknown key, a missing key, a value that its stage would refuse, or a broken rule."""
    refuse_unknown_keys(root)
    check_values(read_params_file(root), root, origin="params.yaml")


def check_values(params: dict[str, Any], root: Path, origin: str) -> None:
    """Check `params` with the models of the stages, each stage with the keys that it declares; then how they agree."""
    declared = declared_keys(root)
    for stage in _own_stages(root):
        if (model := _model_of(root, stage)) is None:
            continue
        visible: dict[str, Any] = {}
        for key in declared[stage]:
            _copy(params, visible, key.split("."), origin)
        validate_params(model, visible, origin)
    if has_rules(root):
        check_rules(params, root, origin)


def _copy(source: dict[str, Any], target: dict[str, Any], path: list[str], origin: str) -> None:
    *sections, last = path
    for section in sections:
        source = source.get(section) or {}
        target = target.setdefault(section, {})
    if last not in source:
        raise ParamsError(f"{origin} has no key `{'.'.join(path)}`", remedy=f"set `{'.'.join(path)}`", file=origin)
    target[last] = source[last]


def _model_of(root: Path, stage: str) -> type[BaseModel] | None:
    """By convention stages/train/params.py holds TrainParams: params.yaml as that stage sees it.

    It is the project's own file, whose params may be others than those of the stage that this program has under the
    same name. None for an entry of dvc.yaml that is not a stage of this project, or has no params.py.
    """
    name = "".join(word.capitalize() for word in stage.split("_")) + "Params"
    file = root / "stages" / stage / "params.py"
    installed = importlib.util.find_spec(f"stages.{stage}")
    if file.parent.is_dir():
        if not file.is_file():
            return None
        if installed is None or installed.origin is None or not _is_same(file, Path(installed.origin)):
            return load_model(file, name)
    elif installed is None or importlib.util.find_spec(f"stages.{stage}.params") is None:
        return None
    model: type[BaseModel] = getattr(importlib.import_module(f"stages.{stage}.params"), name)
    return model


def _is_same(file: Path, package: Path) -> bool:
    """Whether `file` is the params.py of the package whose __init__.py is given."""
    own = package.with_name(file.name)
    return own.is_file() and file.samefile(own)
