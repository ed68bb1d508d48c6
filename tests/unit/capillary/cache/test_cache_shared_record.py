"""A record that somebody else wrote: taken only if it is one of this very run, with outs that this run may have."""

from collections.abc import Callable
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml

from capillary.cache.shared_record import read_record, record_of
from capillary.dvc.claim import RunClaim
from stages.common.errors import DamagedError
from tests.unit.capillary.cache.records import A, B, C

CLAIM = RunClaim(
    address="train@a-0",
    key="k",
    cmd=["capillary stage preflight", "capillary stage train --loss a --fold 0"],
    deps=[{"path": "data", "hash": "md5", "md5": f"{A}.dir", "size": 3, "nfiles": 1}],
    params={"params.yaml": {"training.learning_rate": 1e-05, "training.patch_voxels": [8, 8, 8]}},
    outs=("models/a.json", "metrics/a.csv"),
    recorded={},
    is_wanted=True,
)
OUTS = {"models/a.json": {"hash": "md5", "md5": B, "size": 1}, "metrics/a.csv": {"hash": "md5", "md5": C, "size": 2}}
Change = Callable[[dict[str, Any]], object]


def written(change: Change = lambda _record: None) -> bytes:
    record = record_of(CLAIM, OUTS)
    change(record)
    text: str = dumps_yaml(record)
    return text.encode()


def test_a_record_comes_back() -> None:
    """Sizes of deps play no part: another machine may have linked them."""
    found = read_record(written(lambda record: record["deps"][0].update(size=4)), "runs/k/v", CLAIM)
    assert found.digests == {"models/a.json": B, "metrics/a.csv": C}
    assert record_of(CLAIM, found.outs) == record_of(CLAIM, OUTS)


def _with(**changes: Any) -> Change:
    return lambda record: record.update(changes)


def _with_out(**changes: Any) -> Change:
    return lambda record: record["outs"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with(cmd="rm -rf /"), "its command or params"),
        (_with(params={"params.yaml": {"training.learning_rate": 1e-04}}), "its command or params"),
        (_with(deps=[{"path": "data", "md5": f"{B}.dir"}]), "its deps"),
        (_with(deps={"data": A}), "its deps"),
        (_with(deps=["data"]), "its deps"),
        (_with(more=1), "other keys"),
        (_with(outs="data/out"), "not named by their MD5"),
        (_with(outs=[]), "its outs are others"),
        (_with_out(path="../../stray"), "its outs are others"),
        (_with_out(path="models/a.json"), "its outs are others"),
        (_with_out(path=["metrics/a.csv"]), "not named by their MD5"),
        (_with_out(md5="../../../../etc/passwd"), "not named by their MD5"),
        (_with_out(hash="sha256"), "not named by their MD5"),
        (_with_out(cloud={"etag": 1}), "not named by their MD5"),
        (_with_out(size=-1), "not named by their MD5"),
        (_with_out(size=True), "not named by their MD5"),
    ],
)
def test_any_other_record_is_refused(change: Change, words: str) -> None:
    """By the name of the record and what is wrong with it."""
    with pytest.raises(DamagedError, match="damaged or foreign") as caught:
        read_record(written(change), "runs/k/v", CLAIM)
    assert caught.value.file == "runs/k/v"
    assert words in str(caught.value.value)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"a: &a [*a]", b"- " * 30_000, b"a: 1\n" * 100_000])
def test_what_is_no_record_is_refused(content: bytes) -> None:
    """Whatever it is, reading it takes no memory to speak of."""
    with pytest.raises(DamagedError, match="damaged or foreign"):
        read_record(content, "runs/k/v", CLAIM)
