"""What a registry gave is read with suspicion, and said before anything runs."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from capillary.reproduce.recipe import consent, group, read_evaluation, read_recipes, refuse_unusable
from capillary.reproduce.recorded_yaml import read_mapping
from stages.common.errors import CapillaryError, DamagedError, DataError
from stages.common.provenance.record import DIFF, LOCK, PARAMS, RECORD, record_bytes
from stages.common.requests.reproduction import EVALUATION, Fetched, FetchedCell, read_fetched, write_fetched
from tests.support.tracking.provenance import provenance_record

DIFFED = b"diff --git a/x b/x\n"
CHANGED = {
    "diff": "whole",
    "diff_bytes": len(DIFFED),
    "diff_sha256": hashlib.sha256(DIFFED).hexdigest(),
    "changed": ("x",),
    "changed_count": 1,
}


def cell(fold: int = 0) -> FetchedCell:
    """A network of the loss dice_ce."""
    return FetchedCell(
        loss="dice_ce", fold=fold, name="capillary-dice_ce", version=str(fold + 1), weights_sha256="a" * 64
    )


def fetch(folder: Path, *hosts: dict[str, Any]) -> Path:
    """What the step leaves for a training with a cell for each of `hosts`."""
    folder.mkdir()
    cells = tuple(cell(fold) for fold in range(len(hosts)))
    write_fetched(folder, Fetched(label="capillary-default/1", kind="training", cells=cells))
    for fold, host in enumerate(hosts):
        inner = folder / str(fold)
        inner.mkdir()
        (inner / RECORD).write_bytes(record_bytes(provenance_record(host, stage=f"train@dice_ce-{fold}")))
        (inner / PARAMS).write_text("training: {losses: [dice_ce]}\n")
        if "diff_sha256" in host:
            (inner / DIFF).write_bytes(DIFFED)
    return folder


def touched(_diff: bytes) -> list[str]:
    """The files that DIFFED changes."""
    return ["x"]


def test_cells_of_one_state_are_trained_together(tmp_path: Path) -> None:
    """Another commit is another worktree; what is agreed to names commit, remote, changes and cells."""
    fetched, recipes = read_recipes(fetch(tmp_path / "f", {}, CHANGED, {}))
    assert [[one.cell.fold for one in recipe.originals] for recipe in recipes] == [[0, 2], [1]]
    text = "\n".join(consent(fetched, recipes, touched))
    for part in ("c" * 40, "https://example.org/lab/vessels.git", "no changes on top", "a diff of 19 bytes: x"):
        assert part in text
    assert group([]) == ()


@pytest.mark.parametrize("claimed", [{"changed_count": 0, "changed": ()}, {"changed": ("README.md",), "diff_bytes": 1}])
def test_the_changes_are_those_of_the_diff_whatever_the_record_lists(tmp_path: Path, claimed: dict[str, Any]) -> None:
    """Or somebody agrees to a commit of their own, and a diff of somebody else's runs."""
    fetched, recipes = read_recipes(fetch(tmp_path / "f", {**CHANGED, **claimed}))
    text = "\n".join(consent(fetched, recipes, touched))
    assert "1 changed file, a diff of 19 bytes: x" in text
    assert "README.md" not in text


def test_every_file_that_a_diff_changes_is_named(tmp_path: Path) -> None:
    """Nobody agrees to `…`."""
    fetched, recipes = read_recipes(fetch(tmp_path / "f", CHANGED))
    names = [f"stages/file_{number}.py" for number in range(300)]
    assert ", ".join(names) in "\n".join(consent(fetched, recipes, lambda _: names))


@pytest.mark.parametrize(
    ("host", "files", "said"),
    [
        ({"commit": None}, {}, "without Git"),
        ({"diff": "too large"}, {}, "too large"),
        ({}, {PARAMS: b""}, "has no params.yaml"),
        ({"commit": "--upload-pack=x"}, {}, "not have the form that capillary writes"),
        ({"prefix": "../x/"}, {}, "not have the form that capillary writes"),
        ({"prefix": ".git/x/"}, {}, "not have the form that capillary writes"),
        ({"diff_sha256": "a" * 64}, {DIFF: b"other"}, "differs from the one named in its provenance"),
        ({}, {DIFF: b"unnamed"}, "differs from the one named in its provenance"),
    ],
)
def test_a_record_that_cannot_be_trained_is_refused(host: dict[str, Any], files: dict[str, bytes], said: str) -> None:
    """Before anybody is asked."""
    given = {DIFF: b"", PARAMS: b"a: 1\n", LOCK: b"", **files}
    with pytest.raises(CapillaryError, match=said):
        refuse_unusable("capillary-dice_ce/1", provenance_record(host), given)


def evaluated(folder: Path, host: dict[str, Any], **record: Any) -> Path:
    """What the step leaves of a training whose evaluation has a record with `host`."""
    fetch(folder, {})
    inner = folder / EVALUATION
    inner.mkdir()
    (inner / RECORD).write_bytes(record_bytes(provenance_record(host, **{"stage": "evaluate", **record})))
    (inner / PARAMS).write_text("evaluation: {threshold: 0.4}\n")
    if "diff_sha256" in host:
        (inner / DIFF).write_bytes(DIFFED)
    return folder


def test_an_evaluation_has_its_own_commit_changes_and_params(tmp_path: Path) -> None:
    """Which may be newer than those of its networks, and are shown before anybody agrees."""
    folder = evaluated(tmp_path / "f", {**CHANGED, "commit": "e" * 40})
    fetched, recipes = read_recipes(folder)
    found = read_evaluation(folder, fetched.label)
    assert found is not None
    assert (found.commit, found.diff, found.params) == ("e" * 40, DIFFED, b"evaluation: {threshold: 0.4}\n")
    text = "\n".join(consent(fetched, recipes, touched, found))
    assert f"commit {'e' * 40}" in text
    assert "a diff of 19 bytes: x; evaluate" in text


@pytest.mark.parametrize("host", [{"commit": None}, {"diff": "too large"}, None])
def test_an_evaluation_without_a_record_that_suffices_is_said(
    tmp_path: Path, host: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as that of a version from before evaluate recorded it: its networks can be trained again all the same."""
    folder = fetch(tmp_path / "f", {}) if host is None else evaluated(tmp_path / "f", host)
    assert read_evaluation(folder, "capillary-default/1") is None
    said = " ".join(capsys.readouterr().out.split())
    assert ("own provenance is missing" if host is None else "cannot be evaluated exactly as it was") in said
    assert "measured with the code and params of the networks' trainings" in said.lower()


@pytest.mark.parametrize(
    ("host", "record"), [({}, {"stage": "--all"}), ({"commit": "--x"}, {}), ({"diff_sha256": "a" * 64}, {})]
)
def test_a_record_of_an_evaluation_in_another_form_is_refused(
    tmp_path: Path, host: dict[str, Any], record: dict[str, Any]
) -> None:
    """As that of a network is."""
    with pytest.raises(DataError):
        read_evaluation(evaluated(tmp_path / "f", host, **record), "capillary-default/1")


@pytest.mark.parametrize("address", ["--glob", "-x@y", "--glob@0"])
def test_an_address_that_is_an_option_is_refused(address: str) -> None:
    """It becomes an argument of DVC."""
    with pytest.raises(DataError, match="not have the form that capillary writes"):
        refuse_unusable("x/1", provenance_record(stage=address), {DIFF: b"", PARAMS: b"a: 1\n", LOCK: b""})


@pytest.mark.parametrize("text", ["", "{}", '{"label": "x", "kind": "network", "cells": []}'])
def test_an_index_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    """Nothing of it is guessed."""
    (tmp_path / "fetched.json").write_text(text)
    with pytest.raises(DamagedError):
        read_fetched(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[1, 2]", "not a mapping"),
        (b"a: [", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"a: " + b"[" * 600, "cannot be read"),
        (
            b"\n".join(
                b"k%d: &k%d [%s]" % (n, n, b", ".join([b"*k%d" % (n - 1)] * 10) if n else b"1") for n in range(9)
            ),
            "expands",
        ),
        (b"a: &a [*a]\n", "expands"),
    ],
)
def test_yaml_that_would_cost_memory_is_refused(text: bytes, said: str) -> None:
    """A few hundred bytes can name ten million values."""
    with pytest.raises(DataError) as caught:
        read_mapping(text, PARAMS)
    assert said in str(caught.value.value)
    assert read_mapping(b"a: &x {b: 1}\nc: *x\n", PARAMS) == {"a": {"b": 1}, "c": {"b": 1}}
