from pathlib import Path

import pytest

from capillary.yaml_file import leaves, read_yaml
from stages.common.errors import ExitCode, ParamsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def test_numbers_are_read_as_dvc_reads_them(file: Path) -> None:
    """YAML 1.2: 1e-3 is a number and `no` is a word, unlike in YAML 1.1."""
    file.write_text("a: 1e-3\nb: no\nc: 1_000\nd: 0o17\ne: null\nf: 'µm'\n")
    assert read_yaml(file) == {"a": 0.001, "b": "no", "c": 1000, "d": 15, "e": None, "f": "µm"}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a: {b: 1\n", "is not YAML"),
        (b"a: 1\na: 2\n", "names a key twice"),
        (b"a: \xb5m\n", "is not UTF-8 text"),
        (b"a:\n  b: 1\n\tc: 2\n", "has a tab where YAML allows only spaces"),
        (b"a: \x01\n", "is not YAML"),
        (b"", "holds no keys"),
        (b"# all commented\n", "holds no keys"),
        (b"- a\n", "holds no keys"),
        (b"a:\n  b: 2026-01-01\n", "`a.b` is read as a date by YAML"),
        (b"a:\n  b: [c, 2026-01-01]\n", "`a.b` is read as a date by YAML"),
        (b"a:\n  b: [{c: {2026-01-01: d}}]\n", "`a.b.c` is read as a date by YAML"),
        (b"a:\n  ? [b, c]\n  : 1\n", "something under `a` that is neither text nor a number"),
        (b"a: {b: !!binary aGVsbG8=}\n", "something under `a.b` that is neither text nor a number"),
        (b"a: 0x" + b"f" * 5000 + b"\n", "has no end"),
    ],
    ids=[
        "open brace",
        "key twice",
        "not UTF-8",
        "tab",
        "control",
        "empty",
        "comments",
        "list",
        "date",
        "date in a list",
        "date as a key",
        "list as a key",
        "bytes",
        "long number",
    ],
)
def test_what_is_no_mapping_is_refused_with_the_file(file: Path, content: bytes, what: str) -> None:
    """Each kind of damage has its own words, and all name the file."""
    file.write_bytes(content)
    with pytest.raises(ParamsError, match=what) as caught:
        read_yaml(file)
    assert caught.value.file == file
    assert caught.value.code == ExitCode.PARAMS


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("training:\n  seed: 1\n  folds: [0]\n  seed: 2\n", "line 4: seed: 2"),
        ("training:\n\tseed: 1\n", "line 2: seed: 1"),
        ("training:\n  seed: 1\n  folds: [0\n", "line 4: "),
        ("<<<<<<< ours\nseed: 1\n", "line 2: seed: 1"),
    ],
)
def test_damage_is_named_with_its_line(file: Path, content: str, line: str) -> None:
    """What somebody has to look for in an editor, not a parser's words about it."""
    file.write_text(content)
    with pytest.raises(ParamsError) as caught:
        read_yaml(file)
    assert caught.value.value == line
    assert file.read_text() == content


_TENFOLD = ", ".join(["*l{0}"] * 10)
BOMBS = {
    "an alias of itself": "a: &a\n  b: *a\n",
    "a list in itself": "a: &a [*a]\n",
    "ten times ten": "l0: &l0 [1]\n" + "".join(f"l{n + 1}: &l{n + 1} [{_TENFOLD.format(n)}]\n" for n in range(9)),
    "a deep nesting": "a: " + "{a: " * 60 + "}" * 60,
    "a nesting that is too deep for Python": "a: " + "{a: " * 600 + "}" * 600,
    "a number": "a: " + "9" * 5000,
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_what_has_no_end_is_refused(file: Path, content: str) -> None:
    """An experiment file comes with somebody's pull request: reading it takes neither the memory nor a minute."""
    file.write_text(content)
    with pytest.raises(ParamsError, match="has no end"):
        read_yaml(file)


def test_aliases_of_people_are_read(file: Path) -> None:
    """One value in two places."""
    file.write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(file) == {"a": [1, 2], "b": [1, 2]}


def test_a_missing_file_is_named(file: Path) -> None:
    """A command in the wrong folder ends with the file that it looked for."""
    with pytest.raises(ParamsError, match=r"there is no params\.yaml") as caught:
        read_yaml(file)
    assert caught.value.file == file


def test_leaves_are_dotted_keys_and_values() -> None:
    """Lists are values; a section without keys is one, too, so that it is not lost from sight."""
    tree = {"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": None, "g": {}}
    assert dict(leaves(tree)) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": None, "g": {}}
