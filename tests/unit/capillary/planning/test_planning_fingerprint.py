from typing import Any

import pytest

from capillary.planning.make_plan import fingerprint_of
from capillary.planning.plan import Fingerprint


def fingerprint(
    hashes: dict[str, str] | None = None,
    params: dict[str, Any] | None = None,
    address: str = "train@a-0",
    environment: tuple[str, ...] = ("3.11.2", "x86_64"),
) -> Fingerprint:
    hashes = hashes or {"data/raw": "1", "stages/train": "2"}
    return fingerprint_of(hashes, params or {"training": {"seed": 1}}, address, environment)


def test_the_fingerprint_tells_data_from_code() -> None:
    """Changed data leaves the code's fingerprint as it is and the other way round; the whole changes with either."""
    first = fingerprint()
    data = fingerprint({"data/raw": "x", "stages/train": "2"})
    code = fingerprint({"data/raw": "1", "stages/train": "x"})
    assert data.data != first.data
    assert data.code == first.code
    assert code.code != first.code
    assert code.data == first.data
    assert len({first.whole, data.whole, code.whole}) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"training": {"seed": 2}}},
        {"params": {"training": {"seed": 1, "epochs": 3}}},
        {"address": "train@a-1"},
        {"hashes": {"data/raw": "1", "stages/train": "2", "stages/common/errors.py": "3"}},
        {"hashes": {"data/raw2": "1", "stages/train": "2"}},
        {"environment": ("3.12.1", "x86_64")},
        {"environment": ("3.11.2", "aarch64")},
        {"environment": ("3.11.2",)},
    ],
    ids=["value", "more params", "address", "more code", "other name", "interpreter", "machine", "less known"],
)
def test_the_fingerprint_changes_with_whatever_decides_the_result(changes: dict[str, Any]) -> None:
    """State of other inputs is never resumed from."""
    assert fingerprint(**changes).whole != fingerprint().whole


def test_the_fingerprint_does_not_depend_on_order() -> None:
    """The order of deps and keys in a file decides nothing."""
    turned = fingerprint({"stages/train": "2", "data/raw": "1"}, {"b": 1, "a": {"d": 2, "c": 3}})
    assert turned == fingerprint({"data/raw": "1", "stages/train": "2"}, {"a": {"c": 3, "d": 2}, "b": 1})


def test_only_the_code_s_own_folder_is_code() -> None:
    """Data may be in a folder of the same name, or in one whose name begins like it."""
    first = fingerprint({"data/stages/a": "1", "stages2/b": "1", "stages/train": "2"})
    other = fingerprint({"data/stages/a": "x", "stages2/b": "y", "stages/train": "2"})
    assert first.code == other.code == fingerprint().code
    assert first.data != other.data
