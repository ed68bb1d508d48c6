"""Records as they are found on a disk that others may write to."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from capillary.cache.project import CurrentEntry
from capillary.cache.recompute import Claim, command_of
from capillary.cache.recorded import in_lock_file, in_run_cache, merged
from tests.unit.capillary.cache.records import A, B, C, record

ENTRY = {
    "cmd": ["capillary stage preflight   # the gate", "capillary stage train --loss a --fold 0"],
    "deps": [{"path": "data", "hash": "md5", "md5": f"{A}.dir"}, {"path": "stages/train", "hash": "md5", "md5": C}],
    "params": {"params.yaml": {"training.seed": 1, "training.filters": [16]}},
    "outs": [{"path": "models/card.json", "hash": "md5", "md5": B}],
}


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))


def test_a_record_of_both_is_one_claim_with_two_files(tmp_path: Path) -> None:
    """dvc.lock and the run cache hold the same results; a result is recomputed once."""
    write(tmp_path / "dvc.lock", {"schema": "2.0", "stages": {"train@a-0": ENTRY}})
    write(tmp_path / "cache/runs/ab/abc/def", ENTRY)
    (locked,), (cached,) = in_lock_file(tmp_path), in_run_cache(tmp_path / "cache")
    assert (locked.address, cached.address) == ("train@a-0", "")
    assert locked.deps == {"data": f"{A}.dir", "stages/train": C}
    (both,) = merged([locked, replace(cached, address="train@a-0")])
    assert both.files == (tmp_path / "dvc.lock", tmp_path / "cache/runs/ab/abc/def")


@pytest.mark.parametrize(
    "content",
    [
        "{torn",
        "[]",
        "5",
        "!!python/object/apply:os.system [true]",
        {**ENTRY, "outs": [{"path": "x"}]},
        {**ENTRY, "outs": [{"path": 5, "md5": A}]},
        {**ENTRY, "deps": "data"},
        {key: value for key, value in ENTRY.items() if key != "cmd"},
    ],
)
def test_what_is_not_a_record_is_skipped(tmp_path: Path, content: object) -> None:
    """Nothing in it is run; the whole ones are read all the same."""
    write(tmp_path / "runs/aa/a/bad", content)
    write(tmp_path / "runs/ab/b/good", ENTRY)
    (tmp_path / "runs/ab/b/link").symlink_to(tmp_path / "runs/ab/b/good")
    assert [each.files for each in in_run_cache(tmp_path)] == [(tmp_path / "runs/ab/b/good",)]


def test_a_project_without_records_has_none(tmp_path: Path) -> None:
    """Before its first run."""
    assert in_lock_file(tmp_path) == in_run_cache(tmp_path) == []


def test_a_record_is_of_an_entry_with_its_command_code_and_outs(tmp_path: Path) -> None:
    """Other data and params are what a cache is for; other code made another result."""
    write(tmp_path / "runs/ab/b/good", ENTRY)
    (found,) = in_run_cache(tmp_path)
    present = {
        "address": "train@a-0",
        "stage": "train",
        "cmd": tuple(ENTRY["cmd"]),
        "code": {"stages/train": C},
        "is_reproducible": True,
    }
    outs = frozenset(["models/card.json"])
    assert CurrentEntry(**present, outs=outs).made(found)
    assert not CurrentEntry(**{**present, "code": {"stages/train": A}}, outs=outs).made(found)
    assert not CurrentEntry(**{**present, "cmd": ("other",)}, outs=outs).made(found)
    assert not CurrentEntry(**present, outs=frozenset(["models"])).made(found)


def test_a_claim_is_run_without_its_gate_on_its_own_params(tmp_path: Path) -> None:
    """The gate looks at a machine that is about to train for hours."""
    write(tmp_path / "dvc.lock", {"stages": {"train@a-0": ENTRY}})
    (found,) = in_lock_file(tmp_path)
    assert command_of(found, "train") == ("--loss", "a", "--fold", "0")
    assert command_of(record(cmd=("python train.py",)), "train") is None
    claim = Claim(record=found, cache_dir=tmp_path)
    assert claim.params() == {"training": {"seed": 1, "filters": [16]}}
