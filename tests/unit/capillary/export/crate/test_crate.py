"""A crate says what dvc.lock, params.yaml and the results say, and the profile's validator agrees where it is there."""

import json
import shutil
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from capillary.export.crate.write import CrateRequest, write_crate
from stages.common.errors import CapillaryError
from tests.support.parts import require

VALIDATOR = shutil.which("rocrate-validator")
VOCABULARY = ("w3id.org", 443)
LOCK = """
schema: '2.0'
stages:
  ingest:
    cmd: capillary stage ingest
    deps:
    - {path: 'https://me:pw@host/data.zip', etag: abc}
    - {path: stages/ingest, md5: cc.dir}
    params: {params.yaml: {ingest.source: 'https://me:pw@host/data.zip'}}
    outs:
    - {path: data/raw, md5: aa.dir, size: 7, nfiles: 2}
  train@dice_ce-0:
    cmd: [capillary stage preflight, capillary stage train]
    deps:
    - {path: data/raw, md5: aa.dir, size: 7, nfiles: 2}
    params: {params.yaml: {training: {seed: 7, filters: [4, 8]}}}
    outs:
    - {path: models/dice_ce/fold_0.json, md5: bb, size: 2}
"""
PARAMS = "ingest: {source: 'https://me:pw@host/data.zip'}\ntraining: {seed: 7, filters: [4, 8]}\n"


@pytest.fixture(autouse=True)
def _package() -> None:
    require(find_spec("rocrate") is not None, "rocrate, of the extra crate")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that has run."""
    root = tmp_path / "vessels"
    root.mkdir()
    files = {
        "dvc.yaml": "stages: {}\n",
        "dvc.lock": LOCK,
        "params.yaml": PARAMS,
        "LICENSE": "free\n",
        "models/dice_ce/fold_0.json": "{}",
        "metrics/metrics.json": "{}",
        "metrics/README.md": "not a result\n",
        "reports/r/report.html": "<html></html>",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "secret.csv").write_text("outside")
    (root / "metrics" / "link.csv").symlink_to(tmp_path / "secret.csv")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def entities(folder: Path) -> dict[str, dict[str, Any]]:
    """The crate's entities by their ids."""
    graph = json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
    return {entity["@id"]: entity for entity in graph}


def test_a_crate_has_the_run_its_inputs_and_results(root: Path, tmp_path: Path) -> None:
    """Actions per stage, data by hash, results as files; no login, no code, nothing that a link leads to."""
    folder = tmp_path / "crate"
    write_crate(CrateRequest(folder=folder, license="CC-BY-4.0"), root)
    found = entities(folder)
    copied = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    results = {"models/dice_ce/fold_0.json", "metrics/metrics.json", "reports/r/report.html"}
    assert copied == results | {"dvc.yaml", "dvc.lock", "params.yaml", "ro-crate-metadata.json"}
    assert found["#data/data/raw"] == {
        "@id": "#data/data/raw",
        "@type": "Dataset",
        "name": "data/raw",
        "identifier": "md5:aa.dir",
        "contentSize": "7",
    }
    train = found["#run/train@dice_ce-0"]
    assert train["instrument"] == {"@id": "#tool/train"}
    assert {"@id": "#data/data/raw"} in train["object"]
    assert train["result"] == {"@id": "models/dice_ce/fold_0.json"}
    assert found["#value/training.seed"]["value"] == 7
    assert found["#value/training.filters"]["value"] == "[4, 8]"
    assert found["./"]["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert found["#app/capillary"]["softwareVersion"]
    assert {one["@id"] for one in found["#run"]["result"]} >= {"#data/data/raw", "reports/r/report.html"}
    everything = "".join((folder / name).read_text() for name in copied)
    assert "me:pw" not in everything
    assert "stages/ingest" not in json.dumps(found["#run/ingest"])


def test_the_validator_takes_it(root: Path, tmp_path: Path) -> None:
    """The profile's required rules; it needs the network for their vocabulary."""
    require(VALIDATOR is not None, "roc-validator (scripts/ci/validators.sh)")
    try:
        socket.create_connection(VOCABULARY, timeout=5).close()
    except OSError as error:
        pytest.skip(f"{VOCABULARY[0]} has the vocabulary, and cannot be reached from here: {error}")
    folder = tmp_path / "crate"
    write_crate(CrateRequest(folder=folder), root)
    options = ("--profile-identifier", "provenance-run-crate-0.5", "--no-paging")
    argv = [str(VALIDATOR), "-y", "validate", *options, str(folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_crate_is_not_written_into_its_project(root: Path) -> None:
    """DVC would read its dvc.yaml as another pipeline of the project, all of whose deps are missing."""
    for folder in (root / "crate", root / "reports" / "crate"):
        with pytest.raises(CapillaryError, match="second pipeline") as raised:
            write_crate(CrateRequest(folder=folder), root)
        assert "../crate" in raised.value.remedy
        assert not folder.exists()


def test_a_crate_is_written_whole_or_not_at_all(root: Path, tmp_path: Path) -> None:
    """A folder that exists is left alone, and so is everything where nothing has run."""
    (tmp_path / "crate").mkdir()
    with pytest.raises(CapillaryError, match="already exists"):
        write_crate(CrateRequest(folder=tmp_path / "crate"), root)
    (root / "dvc.lock").unlink()
    with pytest.raises(CapillaryError, match="no results"):
        write_crate(CrateRequest(folder=tmp_path / "new"), root)
    assert sorted(place.name for place in tmp_path.iterdir()) == ["crate", "secret.csv", "vessels"]
