"""An audit of a real DVC project in which somebody put another result under the inputs of a stage."""

import hashlib
import json
import shlex
import subprocess
from pathlib import Path

import yaml

from tests.support.toy import ToyProject


def store(root: Path, content: bytes, ending: str = "") -> str:
    """Put `content` into the cache of the project `root`; its hash."""
    digest = hashlib.md5(content).hexdigest() + ending
    place = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return digest


def poison(root: Path) -> str:
    """Record other content as the toy's out, in the cache, the run cache and dvc.lock; its hash."""
    content = b"poison\n"
    listed = json.dumps([{"md5": store(root, content), "relpath": "copy.txt"}]).encode()
    folder = store(root, listed, ".dir")
    for record in (root / "dvc.lock", *(root / ".dvc" / "cache" / "runs").glob("*/*/*")):
        tree = yaml.safe_load(record.read_text())
        entry = tree["stages"]["toy"] if "stages" in tree else tree
        if entry["params"]["params.yaml"]["toy.times"] == 1:
            entry["outs"][0] |= {"md5": folder, "size": len(content), "nfiles": 1}
            record.write_text(yaml.safe_dump(tree))
    return folder


def audit(toy: ToyProject, *more: str) -> subprocess.CompletedProcess[str]:
    return toy.run("capillary", "cache", "audit", "--share", "1", *more)


def test_a_poisoned_result_is_found_and_the_command_that_is_named_removes_it(tmp_path: Path) -> None:
    """Results of previous params and data are recomputed too. Nothing in the workspace changes."""
    toy = ToyProject(tmp_path / "toy")
    (toy.root / "data" / "in.txt").write_text("former data\n")
    store(toy.root, b"former data\n")
    toy.set("copy", times=2)
    assert toy.repro().returncode == 0
    (toy.root / "data" / "in.txt").write_text("hello\n")
    toy.set("copy")
    assert toy.repro().returncode == 0

    digest = poison(toy.root)
    before = {
        file: file.read_bytes() for file in toy.root.rglob("*") if file.is_file() and ".capillary" not in str(file)
    }
    found = audit(toy, "--json")
    assert found.returncode == 4, found.stderr
    report = json.loads(found.stdout)
    assert sorted(each["verdict"] for each in report["results"]) == ["confirmed", "unexplained"]
    (bad,) = (each for each in report["results"] if each["verdict"] == "unexplained")
    assert bad["differing"]["data/out"]["recorded"] == digest
    assert {file: file.read_bytes() for file in before} == before
    assert list((toy.root / ".capillary" / "audit").iterdir()) == []

    notes = list((toy.root / ".capillary" / "circumstances").iterdir())
    texts = {note: note.read_text() for note in notes}
    for note, text in texts.items():
        note.write_text(json.dumps({**json.loads(text), "cpu": "of another machine"}))
    elsewhere = json.loads(audit(toy, "--json").stdout)["results"]
    assert sorted(each["verdict"] for each in elsewhere) == ["not comparable", "unexplained"]
    for note, text in texts.items():
        note.write_text(text)

    for command in bad["removal"].split(" && "):
        assert toy.run(*shlex.split(command)).returncode == 0
    assert audit(toy).returncode == 0
    assert toy.out() == "hello\n"
