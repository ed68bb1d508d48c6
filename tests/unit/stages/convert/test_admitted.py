"""The one place that unpickles: it admits the catalogue's networks and calls nothing else; their plans are read off."""

import collections
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common.errors import DataError
from stages.common.networks.catalogue import ARCHITECTURES, build_network
from stages.common.networks.kernel_rule import KernelRule
from stages.common.networks.plan import plan_network
from stages.common.networks.weights import weights_sha256
from stages.common.requests.conversion import PICKLE, OldVersion
from stages.convert.admitted import unpickle
from stages.convert.convert import convert, convert_all
from stages.convert.plans import plan_of
from tests.support.models.networks import random_network
from tests.support.models.pickled import Planted

PATCH = (12, 32, 32)


def _saved(value: object, file: Path) -> Path:
    torch.save(value, file)
    return file


def _network_with(**attributes: object) -> torch.nn.Module:
    network = random_network()
    for name, value in attributes.items():
        object.__setattr__(network, name, value)
    return network


@pytest.mark.parametrize("rule", KernelRule)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_networks_plan_is_read_off_its_layers(architecture: str, rule: KernelRule, tmp_path: Path) -> None:
    """What the builder was given comes back, so that it can be given again."""
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=PATCH, filters=(4, 8, 16), kernel_rule=rule)
    network = build_network(plan, 1, architecture=architecture, deep_supervision=False)
    found = unpickle(_saved(network, tmp_path / "model.pth"), "capillary-x/1")
    assert plan_of(found, list(PATCH), "capillary-x/1") == (architecture, plan)
    assert weights_sha256(found) == weights_sha256(network)


PLANTED: dict[str, Callable[[Path], object]] = {
    "itself": Planted,
    "in a list": lambda marker: [1, Planted(marker)],
    "in a network": lambda marker: _network_with(extra=Planted(marker)),
    "as a hook": lambda marker: _network_with(_forward_hooks=collections.OrderedDict({0: Planted(marker)})),
    "a function": lambda _: _network_with(forward=subprocess.call),
    "another class": lambda _: torch.nn.Linear(1, 1),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_code_is_not_run(name: str, tmp_path: Path) -> None:
    """Whatever is not a class of the list ends the reading before it is called; the error names the version."""
    file = _saved(PLANTED[name](tmp_path / "planted"), tmp_path / "model.pth")
    with pytest.raises(DataError, match="the pickle of capillary-x/1 is not read") as caught:
        unpickle(file, "capillary-x/1")
    assert not (tmp_path / "planted").exists()
    assert caught.value.value


def _legacy(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02c", b"x" * 1000, _legacy(Planted(Path("planted")))])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, half an archive, half a pickle, noise, the form of old torch versions."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pth").write_bytes(content)
    with pytest.raises(DataError, match="the pickle of capillary-x/1 is not read"):
        unpickle(tmp_path / "model.pth", "capillary-x/1")
    assert not (tmp_path / "planted").exists()


def test_tensors_alone_are_no_network(tmp_path: Path) -> None:
    """A state dict cannot say what it belongs to."""
    file = _saved(random_network().state_dict(), tmp_path / "model.pth")
    with pytest.raises(DataError, match="holds no network"):
        unpickle(file, "capillary-x/1")


def _version(network: torch.nn.Module, **changes: Any) -> OldVersion:
    recipe = {"normalisation": "none", "percentile_low": 0, "percentile_high": 100, "resample_to_um": None}
    card = {"patch_voxels": [4, 16, 16], "precision": "fp32", "recipe": recipe, **changes}
    return OldVersion(
        name="capillary-x",
        version="1",
        run_id="r",
        weights_sha256=weights_sha256(network),
        has_alias=False,
        card=card,
    )


def test_other_weights_than_were_registered_are_refused(tmp_path: Path) -> None:
    """The old version's checksum still counts."""
    file = _saved(random_network(1), tmp_path / "model.pth")
    with pytest.raises(DataError, match="other weights than were registered"):
        convert(file, _version(random_network(2)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_lies_about_itself_is_refused(tmp_path: Path) -> None:
    """Layers that are not those of the catalogue's builder: the rebuilt network takes no such weights."""
    network = random_network()
    network.add_module("more", torch.nn.Conv3d(1, 1, 1))
    file = _saved(network, tmp_path / "model.pth")
    with pytest.raises(DataError, match="other tensors than its description builds"):
        convert(file, _version(network), tmp_path / "out")


def test_an_answer_that_differs_is_refused(tmp_path: Path) -> None:
    """Equal weights in layers that compute something else: a patch shows it."""
    network = random_network()
    object.__setattr__(network.get_submodule("conv_final.0"), "eps", 0.5)
    file = _saved(network, tmp_path / "model.pth")
    with pytest.raises(DataError, match="differs from the pickled one"):
        convert(file, _version(network), tmp_path / "out")


def test_one_version_that_cannot_be_converted_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said; where none can be converted it is the error."""
    good, bad = tmp_path / "fetched" / "0", tmp_path / "fetched" / "1"
    for folder, network in ((good, random_network()), (bad, torch.nn.Linear(1, 1))):
        folder.mkdir(parents=True)
        (folder / "version.json").write_text(_version(network).model_dump_json())
        _saved(network, folder / PICKLE)
    convert_all(tmp_path / "fetched", tmp_path / "converted")
    assert [folder.name for folder in (tmp_path / "converted").iterdir()] == ["0"]
    assert "not converted" in capsys.readouterr().out
    (tmp_path / "fetched" / "0").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is not read"):
        convert_all(tmp_path / "fetched", tmp_path / "again")
