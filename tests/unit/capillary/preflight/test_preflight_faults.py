"""Faults that end a run, each put into a healthy project or machine: `capillary preflight` as a whole must name it.

A fault is caught where a check fails, or where a file is refused by name. docs/preflight.md lists those that are not.
"""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import CapillaryError
from stages.common.preflight.check import Status
from tests.support.parts import REPOSITORY
from tests.unit.capillary.preflight.fault_list import FAULTS, REFUSED, two_spellings_of_a_group
from tests.unit.capillary.preflight.fault_project import FaultProject, make_bench, make_template

LEAST_SHARE = 0.95

# faults that nothing sees before training, as docs/preflight.md lists them
NOT_CAUGHT = (
    "a package index that does not answer while an image is built",
    "an object store that refuses the keys",
    "a stack whose voxels are damaged",
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy project, of which each test has a copy."""
    return make_template(tmp_path_factory.mktemp("faults") / "template")


@pytest.fixture
def bench(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProject]:
    """A healthy project on a healthy machine."""
    with contextlib.ExitStack() as ends:
        yield make_bench(template, tmp_path / "project", monkeypatch, ends)


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is asked of anything but loopback ends the test, and never leads into the network."""
    real = socket.getaddrinfo

    def only_here(host: Any, *rest: Any, **more: Any) -> Any:
        assert host in ("127.0.0.1", "localhost"), host
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", only_here)


@pytest.mark.parametrize("name", FAULTS)
def test_preflight_names_the_fault(bench: FaultProject, name: str) -> None:
    """The check that is made for it fails, with a remedy; a broken file or setting is refused as such."""
    fault = FAULTS[name]
    fault.inject(bench)
    found = failures(bench)
    assert [said for check, said in found if check == fault.check and fault.says in said] != [], found


def failures(bench: FaultProject) -> list[tuple[str, str]]:
    """(check, what it says with its remedy) of all that fails."""
    try:
        failed = [check for check in bench.preflight().checks if check.status is Status.FAIL]
    except CapillaryError as error:
        return [(REFUSED, error.report())]
    assert all(check.remedy and check.critical for check in failed)
    return [(check.name, f"{check.value}; {check.remedy}") for check in failed]


@pytest.mark.parametrize("place", ["processes", "containers", "tracked by a server"])
def test_the_healthy_project_has_none_of_them(bench: FaultProject, place: str) -> None:
    """What is injected is what is caught."""
    if place == "containers":
        bench.docker()
    if place == "tracked by a server":
        bench.server()
    assert failures(bench) == []


def test_groups_are_those_that_ingest_makes(bench: FaultProject) -> None:
    """A group is held out by its composed name, however the table spells it."""
    two_spellings_of_a_group(bench)
    bench.set("training", folds=[0])
    bench.set("preprocess", test_groups=["g2"], num_folds=1)
    bench.edit("samples/phantom/dataset.csv", "v1,m\u00f6use 1", "v1,g1")
    assert "folds" not in dict(failures(bench))
    bench.set("preprocess", test_groups=["m\u00f6use 1"])
    assert "folds" not in dict(failures(bench))


def test_most_faults_are_caught_and_the_others_are_listed() -> None:
    """At least 95 % of no fewer than 40; the page names each of the rest."""
    assert len(FAULTS) >= 40
    assert len(FAULTS) / (len(FAULTS) + len(NOT_CAUGHT)) >= LEAST_SHARE
    page = " ".join((REPOSITORY / "docs" / "preflight.md").read_text().split())
    for fault in NOT_CAUGHT:
        assert fault in page
