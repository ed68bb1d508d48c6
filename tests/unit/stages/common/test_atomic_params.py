"""The small common modules: files that are whole or absent, and typed params."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Annotated, Literal

import psutil
import pytest
from pydantic import Field

from stages.common.atomic import atomic_write, name_twice
from stages.common.errors import ParamsError, machine_error
from stages.common.params import Params, load_params, nearest, validate_params


def test_an_atomic_file_appears_whole(tmp_path: Path) -> None:
    """Until the block ends the old content stands; then the new one does, and nothing else is left."""
    file = tmp_path / "sub" / "deeper" / "a.bin"
    with atomic_write(file) as stream:
        stream.write(b"old")
    with atomic_write(file) as stream:
        stream.write(b"new")
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new"
    assert list(file.parent.iterdir()) == [file]


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    """In a folder that others write to: it is removed, and nothing is written where it leads."""
    (tmp_path / f".a.bin.{os.getpid()}.tmp").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"), atomic_write(tmp_path / "a.bin") as stream:
        stream.write(b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_failed_atomic_write_leaves_the_former_file(tmp_path: Path, kind: type[BaseException]) -> None:
    """An error within the block costs nothing, nor does Ctrl-C."""
    file = tmp_path / "a.bin"
    file.write_bytes(b"old")

    def fail() -> None:
        with atomic_write(file) as stream:
            stream.write(b"half")
            raise kind("stop")

    with pytest.raises(kind, match="stop"):
        fail()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_error_of_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """A write says only that there is no space, and which disk is full is what a user wants to know."""
    with pytest.raises(OSError, match="No space") as caught, atomic_write(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = machine_error(caught.value)
    assert told is not None
    assert (told.file, told.what) == (str(tmp_path / "a.bin"), "cannot write or read: the disk is full")


def test_the_error_of_a_failed_write_is_not_hidden_by_tidying_up(tmp_path: Path) -> None:
    """Somebody else may have removed the unfinished file."""

    def fail() -> None:
        with atomic_write(tmp_path / "a.bin"):
            for leftover in tmp_path.iterdir():
                leftover.unlink()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()


def test_the_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut there is the old file or the new one; once the block has ended, the new one."""
    file, sync = tmp_path / "a.bin", os.fsync
    synced: list[tuple[str, bytes | None]] = []

    def note(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").resolve()
        content = None if place.is_dir() else place.read_bytes()
        synced.append((place.name, content))
        assert file.exists() is place.is_dir()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    open_before = psutil.Process().num_fds()
    with atomic_write(file) as stream:
        stream.write(b"new")
    assert synced == [(f".a.bin.{os.getpid()}.tmp", b"new"), (tmp_path.name, None)]
    assert psutil.Process().num_fds() == open_before


class Section(Params):
    rate: float = Field(gt=0)
    shape: tuple[int, int]


class Model(Params):
    section: Section


def _load(tmp_path: Path, text: str) -> Model:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return load_params(Model, file)


@pytest.mark.parametrize("reason", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_disk_that_cannot_flush_a_folder_takes_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    """Shares of a VM have no such call; what a disk could not do is an error."""
    flush = os.fsync

    def fsync(number: int) -> None:
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise OSError(reason, os.strerror(reason))
        flush(number)

    monkeypatch.setattr(os, "fsync", fsync)
    failing = pytest.raises(OSError, match="Input") if reason == errno.EIO else contextlib.nullcontext()
    with failing, atomic_write(tmp_path / "a") as stream:
        stream.write(b"a")
    assert (tmp_path / "a").read_bytes() == b"a"


@pytest.mark.parametrize("reason", [None, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSPC])
def test_a_file_has_two_names_or_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int | None) -> None:
    """An external disk (exFAT) has no second names: a training would end at its second checkpoint."""
    (tmp_path / "a").write_bytes(b"a")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason or 0))

    if reason is not None:
        monkeypatch.setattr(os, "link", refuse)
    failing = pytest.raises(OSError, match="No space") if reason == errno.ENOSPC else contextlib.nullcontext()
    with failing:
        name_twice(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"a"


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
        ("- 1", "`?`"),
        ("section: {rate: 2020-01-01, shape: [2, 3]}", "`rate`"),
    ],
)
def test_wrong_params_are_named(tmp_path: Path, text: str, named: str) -> None:
    """Unknown, missing and mistyped keys are refused with place, key and remedy."""
    with pytest.raises(ParamsError) as caught:
        _load(tmp_path, text)
    assert named in caught.value.what
    assert caught.value.remedy


class Sections(Params):
    named: dict[str, Section]


def test_an_unknown_key_below_a_name_of_the_users_own_gets_the_nearest_one(tmp_path: Path) -> None:
    """The names of a mapping are free, the keys of its entries are not. Value and remedy are those of the key."""
    file = tmp_path / "experiment.yaml"
    file.write_text("named: {mine: {rate: 1, shap: [2, 3], shape: [2, 3]}}")
    with pytest.raises(ParamsError) as caught:
        load_params(Sections, file)
    assert caught.value.what == f"{file} [named.mine] unknown key `shap`; did you mean `shape`?"
    assert caught.value.value == [2, 3]
    assert "`shap`" in caught.value.remedy


@pytest.mark.parametrize(("name", "declares"), [("params.yaml", True), ("experiment.yaml", False)])
def test_a_missing_key_is_to_be_set_and_in_params_yaml_declared(tmp_path: Path, name: str, declares: bool) -> None:
    """dvc.yaml decides which keys of params.yaml a stage sees; other files have no such list."""
    file = tmp_path / name
    file.write_text("section: {rate: 1}")
    with pytest.raises(ParamsError) as caught:
        load_params(Model, file)
    assert f"`section.shape` in {file}" in caught.value.remedy
    assert ("dvc.yaml" in caught.value.remedy) is declares


def test_nearest_lists_the_known_when_nothing_is_near() -> None:
    """A guess is made only when it is one."""
    assert nearest("lrr", ["lr", "epochs"]) == "did you mean `lr`?"
    assert nearest("xyz", ["lr", "epochs"]) == "known: epochs, lr"


class Typed(Params):
    rate: float
    count: int
    names: tuple[str, ...]
    shape: tuple[int, int, int]
    deep: bool


RIGHT = {"rate": 1.0, "count": 1, "names": ["a"], "shape": [1, 2, 3], "deep": True}


@pytest.mark.parametrize(
    ("wrong", "what", "remedy"),
    [
        ({"names": "dice_ce"}, "a list is meant", "`names: [dice_ce]`; for one run: dvc exp run -S 'names=[dice_ce]'"),
        ({"shape": 12}, "a list is meant", "`shape: [12, …]`"),
        ({"rate": "1e-4"}, "YAML reads it as text", "`rate: 1.0e-4`, without quotes"),
        ({"rate": "1E5"}, "YAML reads it as text", "`rate: 1.0e+5`"),
        ({"rate": "2.5e3"}, "YAML reads it as text", "`rate: 2.5e+3`"),
        ({"rate": ".5"}, "YAML reads it as text", "`rate: .5`"),
        ({"count": "3"}, "YAML reads it as text", "`count: 3`"),
        ({"deep": "yes"}, "a switch is meant", "`deep: true` or `deep: false`"),
        ({"deep": 1}, "a switch is meant", "`deep: true`"),
        ({"rate": "fast"}, "valid number", "correct `rate`"),
        ({"rate": None}, "valid number", "correct `rate`"),
        ({"names": None}, "valid array", "correct `names`"),
    ],
)
def test_a_wrong_type_says_how_the_value_is_written(wrong: dict[str, object], what: str, remedy: str) -> None:
    """A name where a list belongs, an exponent without a point, a quoted number: the remedy can be pasted."""
    with pytest.raises(ParamsError) as caught:
        validate_params(Typed, {**RIGHT, **wrong}, "params.yaml")
    assert what in caught.value.what
    assert remedy in caught.value.remedy


class Choices(Params):
    size_um3: Annotated[float, Field(ge=0)] | Literal["auto"] | None
    patch_voxels: tuple[int, int, int]


class Evaluated(Params):
    evaluation: Choices


@pytest.mark.parametrize(
    ("value", "what", "remedy"),
    [
        (-1, "greater than or equal to 0, or input should be 'auto'", "correct `evaluation.size_um3` in x.yaml"),
        ("Auto", "valid number, or input should be 'auto'", "correct `evaluation.size_um3` in x.yaml"),
        ("10", "should be a number, but YAML reads it as text", "write `evaluation.size_um3: 10`, without quotes"),
    ],
)
def test_a_value_of_several_types_is_named_by_its_key(value: object, what: str, remedy: str) -> None:
    """The key of the file, without pydantic's name of a type behind it, and everything that may be there."""
    with pytest.raises(ParamsError) as caught:
        validate_params(Evaluated, {"evaluation": {"size_um3": value, "patch_voxels": [1, 2, 3]}}, "x.yaml")
    assert caught.value.what.startswith("x.yaml [evaluation] `size_um3`: ")
    assert caught.value.what.endswith(what)
    assert caught.value.remedy == remedy


def test_a_list_that_is_too_short_needs_more_entries() -> None:
    """There is no key `1` to be set, or to be declared in dvc.yaml."""
    with pytest.raises(ParamsError, match=r"`evaluation\.patch_voxels`: a longer list is meant") as caught:
        validate_params(Evaluated, {"evaluation": {"size_um3": None, "patch_voxels": [1]}}, "params.yaml")
    assert "`evaluation.patch_voxels: […]`" in caught.value.remedy
