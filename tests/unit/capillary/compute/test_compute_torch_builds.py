"""Which build of the pinned torch a machine's images get."""

from pathlib import Path

import pytest

from capillary.compute.torch_builds import TorchBuild, choose_build, cuda_of_index, pinned_cuda
from capillary.settings import ImageSettings, read_settings
from stages.common.errors import CapillaryError, ExitCode
from tests.support.parts import REPOSITORY

PINNED = "13.0"
CU118 = {"CAPILLARY_TORCH_INDEX_CU118": "https://one"}
CU126 = {"CAPILLARY_TORCH_INDEX_CU126": "https://two"}
CU128 = {"CAPILLARY_TORCH_INDEX_CU128": "https://three"}


def settings(tmp_path: Path, **variables: str) -> ImageSettings:
    return read_settings(tmp_path, variables).images


@pytest.mark.parametrize(
    ("driver", "indexes", "cuda", "index"),
    [
        ("580.65.06", {}, "13.0", ""),
        ("580.65.06", CU126, "13.0", ""),
        ("595.10", CU126 | CU118, "13.0", ""),
        ("575.57.08", CU126, "12.6", "https://two"),
        ("550.90.07", CU126 | CU128 | CU118, "12.8", "https://three"),
        ("525.60.13", CU126, "12.6", "https://two"),
        ("525.60.12", CU126 | CU118, "11.8", "https://one"),
        # none that the driver runs: the usual one, which preflight refuses with what to do
        ("575.57.08", {}, "13.0", ""),
        ("520.61.05", CU126, "13.0", ""),
        # no GPU for containers
        (None, CU126, "cpu", ""),
        (None, {"CAPILLARY_TORCH_INDEX_CPU": "https://c"}, "cpu", "https://c"),
    ],
)
def test_auto_takes_the_newest_that_the_driver_runs(
    tmp_path: Path, driver: str | None, indexes: dict[str, str], cuda: str, index: str
) -> None:
    """A driver runs every CUDA of its generation and the older ones."""
    assert choose_build(settings(tmp_path, **indexes), PINNED, driver) == TorchBuild(cuda=cuda, index=index)


@pytest.mark.parametrize(
    ("variables", "driver", "cuda", "index"),
    [
        ({"CAPILLARY_TORCH": "cpu"}, "580.65.06", "cpu", ""),
        ({"CAPILLARY_TORCH": "cpu", "CAPILLARY_TORCH_INDEX": "https://x"}, "580.65.06", "cpu", "https://x"),
        ({"CAPILLARY_TORCH": "cuda"}, None, "13.0", ""),
        ({"CAPILLARY_TORCH": "cu126"} | CU126, "580.65.06", "12.6", "https://two"),
        ({"CAPILLARY_TORCH": "cu130"} | CU126, None, "13.0", ""),
    ],
)
def test_what_the_user_names_is_taken(
    tmp_path: Path, variables: dict[str, str], driver: str | None, cuda: str, index: str
) -> None:
    """Whatever the driver is, as for an image that another machine uses."""
    assert choose_build(settings(tmp_path, **variables), PINNED, driver) == TorchBuild(cuda=cuda, index=index)


@pytest.mark.parametrize(
    ("url", "driver", "own", "build"),
    [
        ("https://w/cu126", "575.57", {}, TorchBuild(cuda="12.6", index="https://w/cu126")),
        ("https://w/cu126/", "575.57", CU118, TorchBuild(cuda="12.6", index="https://w/cu126/")),
        # of another index nobody says what it has: it is taken unless a named one suits
        ("https://mirror", "575.57", {}, TorchBuild(cuda=None, index="https://mirror")),
        ("https://mirror", "575.57", CU126, TorchBuild(cuda="12.6", index="https://two")),
        # an index of CPU builds: the image says that it has none with CUDA
        ("https://w/cpu", "580.65.06", {}, TorchBuild(cuda=None, index="https://w/cpu")),
        ("https://w/cpu", "580.65.06", CU126, TorchBuild(cuda="12.6", index="https://two")),
    ],
)
def test_the_one_index_of_before_counts_by_its_name(
    tmp_path: Path, url: str, driver: str, own: dict[str, str], build: TorchBuild
) -> None:
    """CAPILLARY_TORCH_INDEX, which says nothing about CUDA but in its last part."""
    assert choose_build(settings(tmp_path, CAPILLARY_TORCH_INDEX=url, **own), PINNED, driver) == build


def test_a_build_without_an_index_is_refused(tmp_path: Path) -> None:
    """With the variable to set."""
    with pytest.raises(CapillaryError, match="known builds: cu118, cu130") as caught:
        choose_build(settings(tmp_path, CAPILLARY_TORCH="cu126", **CU118), PINNED, "575.57")
    assert "CAPILLARY_TORCH_INDEX_CU126" in caught.value.remedy
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("url", "cuda"), [("https://w/cu130", "13.0"), ("https://w/cpu/", "cpu"), ("https://w/cu126x", None), ("", None)]
)
def test_indexes_are_read_as_pytorch_names_them(url: str, cuda: str | None) -> None:
    """By the last part of the address."""
    assert cuda_of_index(url) == cuda


def test_the_pinned_torch_has_the_cuda_of_its_toolkit(tmp_path: Path) -> None:
    """constraints.txt is the one place that says it."""
    assert pinned_cuda(REPOSITORY) == PINNED
    assert pinned_cuda(tmp_path) is None
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    assert pinned_cuda(tmp_path) is None
