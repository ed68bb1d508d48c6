"""Faults that end a run, each put into a project or a machine: preflight, `capillary check` or the gate must catch it.

A fault is caught where a check fails, or where a file is refused by name. docs/preflight.md lists those that are not.
"""

import socket
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import CapillaryError
from stages.common.preflight.check import Status
from tests.support.parts import REPOSITORY
from tests.unit.capillary.preflight import fault_makers as make
from tests.unit.capillary.preflight.fault_list import FAULTS, Inject
from tests.unit.capillary.preflight.fault_project import FaultProject, make_bench

LEAST_SHARE = 0.95

# faults that nothing sees before training, as docs/preflight.md lists them
NOT_CAUGHT = (
    "a package index that does not answer while an image is built",
    "an object store that refuses the keys",
    "a stack whose voxels are damaged",
)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaultProject:
    """A healthy project."""
    return make_bench(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is asked of anything but loopback ends the test, and never leads into the network."""
    real = socket.getaddrinfo

    def only_here(host: Any, *rest: Any, **more: Any) -> Any:
        assert host in ("127.0.0.1", "localhost"), host
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", only_here)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_before_training(bench: FaultProject, name: str) -> None:
    """A check fails, or a file or setting is refused, with a remedy."""
    remedies = caught(FAULTS[name], bench)
    assert remedies
    assert all(remedies)


def caught(fault: Inject, bench: FaultProject) -> list[str]:
    """The remedies of all that sees `fault`."""
    try:
        return [check.remedy for check in fault(bench) if check.status is Status.FAIL]
    except CapillaryError as error:
        return [error.remedy]


def test_the_healthy_project_has_none_of_them(bench: FaultProject) -> None:
    """What is injected is what is caught."""
    found = [*make.checked_files(bench), *bench.folds(), *make.source(bench, "samples/phantom"), *make.server()]
    found += make.git(bench, "init -q", "add params.yaml", "commit -qm a")
    assert found
    assert [check.name for check in found if check.status is not Status.PASS] == []


def test_groups_are_those_that_ingest_makes(bench: FaultProject) -> None:
    """Two spellings that look the same are one: too few to draw from, and held out by its composed name."""
    bench.edit("samples/phantom/dataset.csv", "v0,g0", "v0,mo\u0308use  1")
    bench.set("training", folds=[0])
    assert caught(lambda bench: bench.folds(test_groups=["m\u00f6use 1"], num_folds=2), bench) == []
    bench.edit("samples/phantom/dataset.csv", "v1,g1", "v1,m\u00f6use 1")
    assert caught(lambda bench: bench.folds(test_groups=None, num_folds=3), bench) != []


def test_most_faults_are_caught_and_the_others_are_listed() -> None:
    """At least 95 % of no fewer than 40; the page names each of the rest."""
    assert len(FAULTS) >= 40
    assert len(FAULTS) / (len(FAULTS) + len(NOT_CAUGHT)) >= LEAST_SHARE
    page = " ".join((REPOSITORY / "docs" / "preflight.md").read_text().split())
    for fault in NOT_CAUGHT:
        assert fault in page
