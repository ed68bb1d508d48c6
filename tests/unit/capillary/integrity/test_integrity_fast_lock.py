"""The fast way through dvc.lock gives what DVC's own gives: each value that is read, each byte that is written."""

import io
import math
from typing import Any

import pytest
from dvc.utils.serialize import _yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from capillary.integrity.fast_lock import lock_text, parse_with

TEXTS = st.one_of(
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12),
    st.sampled_from(
        ["off", "yes", "1e-05", "010", "0o17", "1_000", "null", "~", "2026-01-01", "<<", "a: b", "- x", "#"]
    ),
    st.lists(st.sampled_from(["capillary stage", "  two", "", "x: 1"]), min_size=2, max_size=3).map("\n".join),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
FILES = st.lists(st.fixed_dictionaries({"path": TEXTS, "hash": st.just("md5"), "md5": TEXTS, "size": st.integers(0)}))
ENTRIES = st.fixed_dictionaries(
    {"cmd": st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=2)), "deps": FILES},
    optional={"params": st.fixed_dictionaries({"params.yaml": st.dictionaries(TEXTS, VALUES, max_size=3)})},
)
LOCKS = st.dictionaries(TEXTS.filter(bool), ENTRIES, max_size=4)


def dumped(data: Any) -> str:
    stream = io.StringIO()
    _yaml._dump(data, stream)
    return stream.getvalue()


def parse(text: str) -> Any:
    """The fast way alone: what it leaves to DVC's own parser fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("not read by the fast way")

    return parse_with(refuse)(text, "dvc.lock")


@settings(deadline=None, max_examples=25)
@given(former=LOCKS, changes=LOCKS)
def test_what_is_written_is_what_dvc_writes(former: dict[str, Any], changes: dict[str, Any]) -> None:
    """Byte for byte, when entries are added to a file or take the place of others in it."""
    old = {"schema": "2.0", "stages": former}
    new = {"schema": "2.0", "stages": {**former, **changes}}
    assert lock_text(new, dumped(old), _yaml._dump) == dumped(new)


@settings(deadline=None, max_examples=25)
@given(stages=LOCKS)
def test_what_is_read_is_what_dvc_reads(stages: dict[str, Any]) -> None:
    """Every value with its type: a param that came back as a text would train everything again."""
    text = dumped({"schema": "2.0", "stages": stages})
    found = parse_with(_yaml.parse_yaml)(text, "dvc.lock")
    assert repr(found) == repr(_yaml.parse_yaml(text, "dvc.lock"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e-05", 1e-05), ("1e3", 1000.0), ("off", "off"), ("010", 10), ("0o17", 15), ("0x1F", 31), ("true", True)],
        *[("1_000", 1000), (".inf", math.inf), ("null", None), ("'1'", "1"), ("yes", "yes"), ("1:30", "1:30")],
    ],
)
def test_a_value_means_what_it_means_in_yaml_1_2(text: str, value: object) -> None:
    """As in params.yaml, which DVC compares it with."""
    found = parse(f"key: {text}\n")["key"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t"])
def test_what_cannot_be_read_is_dvcs_to_explain(text: str) -> None:
    """In its own words."""
    with pytest.raises(_yaml.YAMLFileCorruptedError):
        parse_with(_yaml.parse_yaml)(text, "dvc.lock")


def test_other_files_are_read_as_ever() -> None:
    """dvc.yaml has comments, which DVC keeps."""
    assert parse_with(lambda *given: given)("text", "a/dvc.yaml", "rt") == ("text", "a/dvc.yaml", "rt")


@pytest.mark.parametrize(
    "former",
    ["", "torn: [", "stages:\n  a: {cmd: x}\n  a: {cmd: y}\n", "stages:\n  a:\n   cmd: |\n  b\n", "stages: 5\n"],
)
def test_a_former_file_that_is_not_whole_adds_nothing(former: str) -> None:
    """All entries are written again."""
    data = {"schema": "2.0", "stages": {"a": {"cmd": "x"}, "b": {"cmd": "y"}}}
    assert lock_text(data, former, _yaml._dump) == dumped(data)


@pytest.mark.parametrize("data", [{}, {"schema": "2.0", "datasets": [], "stages": {}}, {"schema": "2.0", "stages": {}}])
def test_a_lock_of_another_form_is_written_by_dvc(data: dict[str, Any]) -> None:
    """An empty one, or one with data sets."""
    assert lock_text(data, "", _yaml._dump) == dumped(data)
