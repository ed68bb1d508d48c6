"""The whole stage in this process: chosen stacks, folds, and what is refused before any work."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.errors import CapillaryError, ParamsError
from stages.common.imaging.recipe import read_recipe
from stages.common.imaging.volumes import HELD_OUT, Volume, read_manifest
from stages.common.splits import read_splits
from stages.preprocess.params import Preprocess
from stages.preprocess.preprocess import preprocess
from tests.support.parts import REPOSITORY
from tests.unit.stages.preprocess.tiny_tasks import PARAMS, make_task

NAMES = ("d", "b", "a", "c")
GENERATED = str(REPOSITORY / "configs" / "splits" / "generated.json")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Four stacks in unsorted order; a and b belong to one animal."""
    axes = ("z", "y", "x")
    shapes, spacings = ([f"{kind}_{axis}{unit}" for axis in axes] for kind, unit in (("shape", ""), ("spacing", "_um")))
    lines = [",".join(["id", "group", "image", "label", *shapes, *spacings, "image_sha256"])]
    for size, name in enumerate(NAMES):
        stack = make_task(tmp_path, name, (6, 30, 32 + size)).raw
        group = "animal" if name in "ab" else name
        files = [f"{name}/image.tif", f"{name}/label.tif"]
        lines.append(",".join(map(str, [name, group, *files, *stack.shape_zyx, *stack.spacing_um, f"sha-{name}"])))
    (tmp_path / "raw" / "volumes.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "raw"


def run(raw: Path, workers: int = 1, **changes: Any) -> list[Volume]:
    """The volumes that the stage writes."""
    params = Preprocess(**{**PARAMS, "splits_file": GENERATED, "num_folds": 3, **changes})
    preprocess(params, workers=workers, raw=raw, processed=raw.parent / "processed")
    return read_manifest(raw.parent / "processed")


def test_every_stack_becomes_a_volume_in_the_fold_that_validates_it(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Manifest, folds, recipe and arrays agree, and the terminal reports each stack and fold."""
    volumes = run(raw, resample_to_um=(2.0, 1.0, 2.0))
    folds = read_splits(raw.parent / "processed" / "splits.json")
    assert [(volume.id, volume.group) for volume in volumes] == [
        ("a", "animal"),
        ("b", "animal"),
        ("c", "c"),
        ("d", "d"),
    ]
    for volume in volumes:
        assert volume.id in folds[volume.fold].val
        assert volume.shape_zyx == volume.label().shape
        assert volume.spacing_um[:2] == (2.0, 1.0)
        assert volume.spacing_um[2] == pytest.approx(2.0, rel=0.05)
        assert volume.foreground_share == np.count_nonzero(volume.label()) / volume.label().size
    assert volumes[0].fold == volumes[1].fold
    assert read_recipe(raw.parent / "processed").resample_to_um == (2.0, 1.0, 2.0)
    said = capsys.readouterr().out.splitlines()
    share = f"{volumes[0].foreground_share:.1%}"
    assert f"a 12×30×17, {share} foreground" in " ".join(said)
    assert said[-3:] == [
        f"fold {number}: {len(fold.train)} volumes to train on, {len(fold.val)} to validate on ({', '.join(fold.val)})"
        for number, fold in enumerate(folds)
    ]


def test_the_first_volumes_by_id_are_taken(raw: Path) -> None:
    """max_volumes counts sorted ids, not rows of the table."""
    assert [volume.id for volume in run(raw, max_volumes=2, num_folds=2, splits_file=_splits(raw))] == ["a", "b"]


def _splits(raw: Path) -> str:
    file = raw.parent / "mine.json"
    file.write_text(json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    return str(file)


def test_given_folds_count_instead_of_drawn_ones(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A volume outside every val has fold -1; an animal in both train and val is a warning for each fold."""
    file = raw.parent / "mine.json"
    file.write_text(json.dumps([{"train": ["a", "c", "d"], "val": ["b"]}, {"train": ["b", "d"], "val": ["a"]}]))
    volumes = run(raw, workers=2, num_folds=2, splits_file=str(file))
    assert {volume.id: volume.fold for volume in volumes} == {"a": 1, "b": 0, "c": -1, "d": -1}
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert [("fold 0" in line, "fold 1" in line, "animal" in line) for line in said] == [
        (True, False, True),
        (False, True, True),
    ]


@pytest.mark.parametrize("num_folds", [2, 3])
@pytest.mark.parametrize("asked", [["d"], {"share": 0.25, "seed": 5}])
def test_no_fold_sees_a_held_out_group(
    raw: Path, asked: object, num_folds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither to train nor to validate, whatever the number of folds; the manifest has fold -2."""
    if num_folds == 3:
        split_animal(raw)
    volumes = run(raw, num_folds=num_folds, test_groups=asked)
    held_out = {volume.id for volume in volumes if volume.fold == HELD_OUT}
    assert [volume.is_held_out for volume in volumes] == [volume.id in held_out for volume in volumes]
    for fold in read_splits(raw.parent / "processed" / "splits.json"):
        assert not held_out & {*fold.train, *fold.val}
        assert {*fold.train, *fold.val} == {volume.id for volume in volumes} - held_out
    assert f"no fold sees ({', '.join(sorted(held_out))})" in " ".join(capsys.readouterr().out.split())
    assert held_out == ({"d"} if isinstance(asked, list) else drawn_of(raw))


def split_animal(raw: Path) -> None:
    """Make every stack a group of its own."""
    table = raw / "volumes.csv"
    table.write_text(re.sub(r"^(a|b),animal,", r"\1,\1,", table.read_text(), flags=re.MULTILINE))


def drawn_of(raw: Path) -> set[str]:
    """What two folds would hold out: the number of folds has no part in it."""
    shutil.rmtree(raw.parent / "processed")
    return {volume.id for volume in run(raw, num_folds=2, test_groups={"share": 0.25, "seed": 5}) if volume.is_held_out}


def test_nothing_held_out_changes_no_byte(raw: Path) -> None:
    """An empty list and null are the same."""
    files = ("manifest.parquet", "splits.json", "recipe.json")
    run(raw)
    before = [(raw.parent / "processed" / name).read_bytes() for name in files]
    shutil.rmtree(raw.parent / "processed")
    run(raw, test_groups=[])
    assert [(raw.parent / "processed" / name).read_bytes() for name in files] == before


@pytest.mark.parametrize(
    ("asked", "says"),
    [(["b"], "names volumes that preprocess.test_groups holds out"), ({"share": 0.3, "seed": 1}, "asks for a share")],
)
def test_a_splits_file_and_held_out_groups_must_agree(raw: Path, asked: object, says: str) -> None:
    """A file that names a held-out volume is refused, with its name; a share is not drawn from folds that are given."""
    split_animal(raw)
    with pytest.raises(CapillaryError, match=says) as caught:
        run(raw, max_volumes=2, num_folds=2, splits_file=_splits(raw), test_groups=asked)
    assert caught.value.value == ("b" if isinstance(asked, list) else "preprocess.test_groups: share 0.3")
    assert not (raw.parent / "processed").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"test_groups": ["animl"]}, "no group or volume animl; did you mean `animal`"),
        ({"test_groups": ["animal", "c", "d"]}, "3 of 3 groups are held out, leaving 0"),
        ({"test_groups": ["animal"]}, "1 of 3 groups are held out, leaving 2"),
        ({"test_groups": {"share": 0.5, "seed": 1}, "num_folds": 2}, "2 of 3 groups are held out"),
        ({"num_folds": 4}, r"4 folds cannot be drawn from 3 groups \(of 4 volumes\)"),
        ({"resample_to_um": (0.001, 0.001, 0.001)}, "volume a: .* would make"),
        ({"max_volumes": 2, "num_folds": 2}, "2 folds cannot be drawn from 1 group"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_work(raw: Path, changes: dict[str, Any], says: str) -> None:
    """Too few groups or too fine a spacing stop the stage before it writes anything."""
    with pytest.raises(ParamsError, match=says):
        run(raw, **changes)
    assert not (raw.parent / "processed").exists()
