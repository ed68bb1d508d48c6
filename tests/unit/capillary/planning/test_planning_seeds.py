"""Cells of additional seeds in the repository's own graph."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from capillary.dvc.graph import Entry
from capillary.params_file import listed_cells
from capillary.planning.access import declared_stages
from capillary.planning.make_plan import fingerprint_of
from stages.common.cell_name import CellName
from tests.support.parts import REPOSITORY
from tests.support.repository import start_dvc


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The graph of this repository, with its own workspace."""
    for name in ("dvc.yaml", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    start_dvc(tmp_path)
    return tmp_path


def cells_of(root: Path, **training: Any) -> dict[CellName, tuple[str, list[str], list[str]]]:
    """Each cell's fingerprint, cmd and outs, with the data and code as they are."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["training"] |= {"folds": [1], **training}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    found = {}
    for cell in listed_cells(params):
        entry = Entry(root, cell.address)
        fingerprint = fingerprint_of(dict.fromkeys(entry.deps, "as it is"), entry.params(), cell.address, ["here"])
        found[cell] = (fingerprint.whole, entry.commands, entry.outs)
    return found


def test_a_seed_that_is_added_changes_no_other_cell(root: Path) -> None:
    """Neither a first seed's cell nor another one's; nor does another first seed change another one's."""
    none, one, two = (cells_of(root, seeds=seeds) for seeds in ([], [7], [7, 8]))
    assert (len(none), len(one)) == (1, 2)
    assert none.items() <= one.items() <= two.items()
    assert len({fingerprint for fingerprint, _, _ in two.values()}) == len(two) == 3
    other = cells_of(root, seeds=[7], seed=1)
    changed = {cell for cell in one if one[cell] != other[cell]}
    assert changed == set(none)


def test_a_further_seed_has_files_of_its_own_and_the_same_gate(root: Path) -> None:
    """Its card is below models/, where evaluate looks for it."""
    cells = cells_of(root, seeds=[7])
    _, commands, outs = cells[CellName("dice_ce", 1, 7)]
    assert commands == ["capillary stage preflight", "capillary stage train --loss dice_ce --fold 1 --seed 7"]
    assert outs == ["models/dice_ce/seed_7/fold_1.json", "metrics/training/dice_ce/seed_7/fold_1.csv"]
    _, commands, outs = cells[CellName("dice_ce", 1)]
    assert outs == ["models/dice_ce/fold_1.json", "metrics/training/dice_ce/fold_1.csv"]


def test_both_entries_run_one_stage() -> None:
    """Images, access and checks are asked for once."""
    assert declared_stages(REPOSITORY) == ["ingest", "preprocess", "train", "evaluate"]
