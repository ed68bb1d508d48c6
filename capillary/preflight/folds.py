"""Folds and network against the volumes that there will be: what preprocess and train would refuse after ingest."""

import importlib
import importlib.util
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.dataset.columns import SPACING
from stages.common.dataset.ids import group_of, safe_id
from stages.common.dataset.lengths import micrometres_in
from stages.common.dataset.table import Row, read_rows
from stages.common.errors import CapillaryError, DataError, ParamsError
from stages.common.held_out import (
    HeldOutGroups,
    ids_of,
    listed_groups,
    parse_test_groups,
    refuse_too_few_left,
)
from stages.common.preflight.check import Check, missed, passed
from stages.common.splits import asks_for_drawn_folds, check_enough, read_splits_file
from stages.common.text import counted

_WANTED = "every fold can be trained"


@dataclass(frozen=True, kw_only=True)
class Member:
    """A volume of the table. `spacing_um` is None if the table leaves it to the file."""

    id: str
    group: str
    spacing_um: tuple[float, float, float] | None


def check_folds(root: Path, params: Mapping[str, Any], *, critical: bool) -> Check:
    """Folds of `params` (checked ones), drawn or from a file, against the table of volumes where there is one."""
    preprocess = params.get("preprocess")
    if not isinstance(preprocess, Mapping):
        return passed("folds", "not known", _WANTED, critical=critical)
    members = _taken(root, params)
    asked, number = parse_test_groups(preprocess.get("test_groups")), preprocess["num_folds"]
    try:
        held_out = _held_out(root, params, asked, number) if members else frozenset()
        _refuse_folds(root, params, members, held_out)
    except CapillaryError as error:
        file = Path(str(error.file)).name if error.file else None
        found = ": ".join(str(each) for each in (file, error.what, error.value) if each)
        return missed("folds", found, _WANTED, error.remedy, critical=critical)
    known = counted(len(members), "volume") if members else "volumes not known yet"
    known += f", of which {len(held_out)} held out" if held_out else ""
    return passed("folds", f"{preprocess['num_folds']} folds, {known}", _WANTED, critical=critical)


def _held_out(root: Path, params: Mapping[str, Any], asked: HeldOutGroups, number: int) -> frozenset[str]:
    """The ids of the listed volumes, which no fold will see.

    ParamsError for a name that the table does not have, and where too few groups are left.
    """
    every, taken = read_members(root, _source(params)), _taken(root, params)
    listed = ids_of(listed_groups(asked.names, every), taken)
    least = number if asks_for_drawn_folds(root / params["preprocess"]["splits_file"]) else 1
    refuse_too_few_left(asked, taken, listed, least=least)
    return listed


def _refuse_folds(root: Path, params: Mapping[str, Any], members: Sequence[Member], held_out: Collection[str]) -> None:
    """Raise what preprocess would of the splits file, or of folds that are to be drawn."""
    number = params["preprocess"]["num_folds"]
    seen = [member for member in members if member.id not in held_out]
    given = read_splits_file(
        root / params["preprocess"]["splits_file"],
        [member.id for member in seen] if members else None,
        number,
        held_out,
        may_drop=(params.get("ingest") or {}).get("on_invalid") == "skip",
    )
    if given is None and members:
        check_enough(len(seen), len({member.group for member in seen}), number)


def _source(params: Mapping[str, Any]) -> str:
    return str((params.get("ingest") or {}).get("source", ""))


def check_network(root: Path, params: Mapping[str, Any], *, critical: bool) -> Iterator[Check]:
    """Whether the patch can be halved as often as the filters ask, at the volumes' spacing, where that is known."""
    members = _taken(root, params)
    resample = (params.get("preprocess") or {}).get("resample_to_um")
    names = set(parse_test_groups((params.get("preprocess") or {}).get("test_groups")).names)
    held_out = {member.group for member in members if names & {member.id, member.group}}
    seen = [member for member in members if member.group not in held_out]
    spacings = [tuple(resample)] if resample else [each.spacing_um for each in seen]
    if not spacings or None in spacings or importlib.util.find_spec("numpy") is None:
        return
    plan = importlib.import_module("stages.common.networks.plan")  # needs NumPy, of the extra `stages`
    training = params["training"]
    try:
        plan.plan_network(
            spacing_um=plan.median_spacing_um(spacings),
            patch_voxels=tuple(training["patch_voxels"]),
            filters=tuple(training["filters"]),
            kernel_rule=plan.KernelRule(training["kernels"]),
        )
    except ParamsError as error:
        yield missed("network", error.what, "the patch suits it", error.remedy, critical=critical)
        return
    yield passed("network", "its levels fit the patch", "the patch suits it", critical=critical)


def _taken(root: Path, params: Mapping[str, Any]) -> list[Member]:
    """The volumes of the table that preprocess will take: the first ones, by id."""
    members = read_members(root, _source(params))
    return sorted(members, key=lambda member: member.id)[: (params.get("preprocess") or {}).get("max_volumes")]


def read_members(root: Path, source: str) -> list[Member]:
    """The volumes of a local source's dataset.csv; none if there is no such table, or it is not whole."""
    table = root / source / "dataset.csv"
    if "://" in source or not table.is_file():
        return []
    try:
        rows = read_rows(table.read_bytes(), table.name).rows
    except DataError:  # the check of the source says so
        return []
    return [_member(row) for row in rows] if all(row.cells["id"] for row in rows) else []


def _member(row: Row) -> Member:
    name = safe_id(row.cells["id"])
    z, y, x = (micrometres_in(row.cells.get(axis, "")) for axis in SPACING)
    spacing_um = None if z is None or y is None or x is None else (z, y, x)
    return Member(id=name, group=group_of(row.cells.get("group", "")) or name, spacing_um=spacing_um)
