"""The small common modules: files that are whole or absent, typed params, what the launcher tells."""

from pathlib import Path

import pytest
from pydantic import Field

from stages.common.atomic import atomic_write
from stages.common.errors import ParamsError
from stages.common.params import Params, load_params, nearest
from stages.common.runtime import read_runtime


def test_an_atomic_file_appears_whole(tmp_path: Path) -> None:
    """Until the block ends the old content stands; then the new one does, and nothing else is left."""
    file = tmp_path / "sub" / "a.bin"
    with atomic_write(file) as stream:
        stream.write(b"old")
    with atomic_write(file) as stream:
        stream.write(b"new")
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_atomic_write_leaves_the_former_file(tmp_path: Path) -> None:
    """An error within the block costs nothing."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(file) as stream:
            stream.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


class Section(Params):
    rate: float = Field(gt=0)
    shape: tuple[int, int]


class Model(Params):
    section: Section


def _load(tmp_path: Path, text: str) -> Model:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return load_params(Model, file)


def test_params_are_typed_and_frozen(tmp_path: Path) -> None:
    """A list becomes a tuple, a whole number serves as a float, and nothing can be changed afterwards."""
    params = _load(tmp_path, "section: {rate: 1, shape: [2, 3]}")
    assert params.section.rate == 1.0
    assert params.section.shape == (2, 3)
    with pytest.raises(ValueError, match="frozen"):
        params.section.rate = 2.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("section: {rate: 1, shape: [2, 3], rat: 2}", "[section] unknown key `rat`; did you mean `rate`?"),
        ("section: {rate: 1}", "key `shape` is missing"),
        ("section: {rate: '1', shape: [2, 3]}", "`rate`"),
        ("section: {rate: true, shape: [2, 3]}", "`rate`"),
        ("section: {rate: -1, shape: [2, 3]}", "`rate`"),
        ("section: {rate: 1, shape: [2.5, 3]}", "`0`"),
        ("section: {rate: 1, shape: [2, 3]", "is not YAML"),
        ("", "key `section` is missing"),
    ],
)
def test_wrong_params_are_named(tmp_path: Path, text: str, named: str) -> None:
    """Unknown, missing and mistyped keys are refused with place, key and remedy."""
    with pytest.raises(ParamsError) as caught:
        _load(tmp_path, text)
    assert named in caught.value.what
    assert caught.value.remedy


def test_nearest_lists_the_known_when_nothing_is_near() -> None:
    """A guess is made only when it is one."""
    assert nearest("lrr", ["lr", "epochs"]) == "did you mean `lr`?"
    assert nearest("xyz", ["lr", "epochs"]) == "known: epochs, lr"


def test_runtime_is_what_the_launcher_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are numbers, and what is not set has the default of a stage started by hand."""
    monkeypatch.setenv("CAPILLARY_WORKERS", "3")
    monkeypatch.setenv("CAPILLARY_STATE_DIR", "/tmp/state")
    monkeypatch.delenv("CAPILLARY_FINGERPRINT", raising=False)
    runtime = read_runtime()
    assert runtime.workers == 3
    assert runtime.state_dir == Path("/tmp/state")
    assert runtime.fingerprint == "by-hand"
