"""What computes a network: chosen by the setting, the size of the stack and the probe, and said in words."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stages.common.backends import network as backends
from stages.common.backends.network import PreparedNetwork
from stages.common.backends.openvino_network import OpenVinoNetwork
from stages.common.backends.settings import MUCH_WORK, Backend, BackendSettings, work_voxels
from stages.common.errors import MachineError
from stages.common.inference import predict_probability
from stages.common.networks.catalogue import ARCHITECTURES, build_network
from stages.common.networks.plan import NetworkPlan
from stages.evaluate.predict import predict_volume
from stages.predict.models.ensemble import Ensemble
from tests.support.models.recipe import RECIPE
from tests.support.tracking.cards import CARD
from tests.unit.stages.evaluate.made import evaluation

PATCH = (4, 16, 16)
PLAN = NetworkPlan(
    patch_voxels=PATCH,
    filters=(4, 8, 8),
    kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    strides=((1, 1, 1), (1, 2, 2), (1, 2, 2)),
)
THE_CARD = replace(CARD, patch_voxels=PATCH)
IMAGE = np.random.default_rng(1).random((6, 40, 36), dtype=np.float32)


def made(architecture: str = "dynunet") -> torch.nn.Module:
    """A network with random weights, the same ones at each call."""
    return build_network(PLAN, 1, architecture=architecture, deep_supervision=False).eval()


def ready(
    asked: Backend = "auto", network: torch.nn.Module | None = None, precision: str = "fp32", threads: int = 2
) -> PreparedNetwork:
    """Ready to predict."""
    settings = BackendSettings(asked=asked, threads=threads)
    return PreparedNetwork(network or made(), replace(THE_CARD, precision=precision), settings)


def probability(prepared: PreparedNetwork, work: int = MUCH_WORK) -> Any:
    """Of IMAGE, as evaluate predicts it."""
    network, dtype = prepared.for_work(work)
    return predict_probability(network, IMAGE, PATCH, 0.5, autocast_dtype=dtype)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_openvino_decides_as_torch_on_every_architecture(architecture: str) -> None:
    """In float32 the probabilities differ by rounding alone, whatever the layout and precision of torch's network."""
    by_torch = probability(ready("torch", made(architecture)))
    for precision in ("fp32", "bf16"):
        prepared = ready("openvino", made(architecture), precision)
        found = probability(prepared)
        assert prepared.choice is not None
        assert prepared.used == {prepared.choice.name}
        np.testing.assert_allclose(found, by_torch, atol=1e-3 if prepared.choice.name.endswith("f32") else 0.05)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_runs_give_equal_bytes(threads: int) -> None:
    """Converted and compiled anew, with patches side by side or one on all threads; alone or in a batch."""
    first, again = (probability(ready(threads=threads)) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    network, _ = ready(threads=threads).for_work(MUCH_WORK)
    batch = torch.from_numpy(IMAGE[None, None, :4, :16, :32]).unfold(4, 16, 16).movedim(4, 0).reshape(2, 1, *PATCH)
    assert torch.equal(network(batch), torch.cat([network(one[None]) for one in batch]))


def test_evaluate_and_predict_take_the_same_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same stack: a large one by OpenVINO, a small one by torch."""
    params = evaluation(overlap=0.5)
    work = work_voxels((6, 40, 36), PATCH, 0.5, "none")
    volume: Any = SimpleNamespace(image=lambda: IMAGE, id="a")
    for limit, is_converted in ((work, True), (work + 1, False)):
        monkeypatch.setattr("stages.common.backends.settings.MUCH_WORK", limit)
        in_evaluate, in_predict = ready(), ready()
        predict_volume(in_evaluate, volume, THE_CARD, params)
        ensemble = Ensemble(networks=(in_predict,), device=torch.device("cpu"), patch_voxels=PATCH, recipe=RECIPE)
        ensemble.probability(torch.rand(1, 1, *PATCH), "none", work)
        assert in_evaluate.used == in_predict.used
        assert (in_evaluate.used != {"torch"}) is is_converted


def test_the_choice_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """With the share of equal decisions, for the first large stack; small ones ask nothing."""
    prepared = ready()
    probability(prepared, MUCH_WORK - 1)
    assert prepared.choice is None
    for _ in range(2):
        probability(prepared)
    assert prepared.choice is not None
    assert prepared.choice.name.startswith("OpenVINO ")
    assert prepared.choice.reason == "100.000% of decisions as torch's fp32"
    assert prepared.used == {"torch", prepared.choice.name}
    said = words(capsys)
    assert said.count("the network of loss dice_ce, fold 0 is computed by OpenVINO") == 1
    assert f"{prepared.choice.reason}; converted and compared in " in said


def test_on_a_gpu_nothing_is_asked() -> None:
    """Torch computes there, and no word is lost about it unless OpenVINO was asked for by name."""
    prepared = ready(network=made().to("meta"))
    assert prepared.for_work(MUCH_WORK)[1] is None
    assert (prepared.used, prepared.choice) == ({"torch"}, None)
    with pytest.raises(MachineError, match="a GPU computes it"):
        ready("openvino", made().to("meta")).for_work(0)


class Spoilt(torch.nn.Module):
    """Computes otherwise as soon as it is not traced."""

    def __init__(self, change: float) -> None:
        super().__init__()
        self.network, self.change = made(), change

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(patches)
        return (
            found
            if torch._C._get_tracing_state() is not None
            else found * torch.tensor([1.0, self.change]).reshape(1, 2, 1, 1, 1)
        )


@pytest.mark.parametrize(("asked", "error"), [("auto", None), ("openvino", MachineError)])
def test_a_backend_that_decides_otherwise_is_not_taken(
    capsys: pytest.CaptureFixture[str], asked: Backend, error: type[Exception] | None
) -> None:
    """auto predicts with torch, and says how far apart they are; who insists on OpenVINO gets an error."""
    refuses(capsys, ready(asked, Spoilt(0.5)), error, "of decisions as torch's fp32, its logits deviate by ")


@pytest.mark.parametrize(("asked", "error"), [("auto", None), ("openvino", MachineError)])
def test_without_the_package_torch_computes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: Backend,
    error: type[Exception] | None,
) -> None:
    """And the reason is the package."""
    monkeypatch.setattr(backends, "is_installed", lambda: False)
    refuses(capsys, ready(asked), error, "the package openvino is not installed")


@pytest.mark.parametrize(("asked", "error"), [("auto", None), ("openvino", MachineError)])
def test_a_network_that_cannot_be_converted_is_computed_by_torch(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: Backend,
    error: type[Exception] | None,
) -> None:
    """Whatever OpenVINO raises; its first line is the reason."""

    def fail(*_: object) -> None:
        raise RuntimeError("no rule for aten::odd\nand more")

    monkeypatch.setattr(backends, "convert_network", fail)
    refuses(capsys, ready(asked), error, "RuntimeError: no rule for aten::odd")


def refuses(
    capsys: pytest.CaptureFixture[str], prepared: PreparedNetwork, error: type[Exception] | None, reason: str
) -> None:
    """Torch computes for `reason`, which is said, or `error` names it."""
    if error is not None:
        with pytest.raises(error, match=reason):
            prepared.for_work(0)
        return
    network, dtype = prepared.for_work(MUCH_WORK)
    assert (prepared.used, dtype) == ({"torch"}, None)
    assert not isinstance(network, OpenVinoNetwork)
    said = words(capsys)
    assert "the network of loss dice_ce, fold 0 is computed by torch: " in said
    assert reason in said


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without line breaks."""
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("asked", "has_units", "dtype"),
    [
        ("auto", False, None),
        ("auto", True, torch.bfloat16),
        ("torch", False, torch.bfloat16),
    ],
)
def test_a_half_type_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, asked: Backend, has_units: bool, dtype: torch.dtype | None
) -> None:
    """A network trained in bf16 elsewhere is computed in float32 here, unless torch is asked for by name."""
    monkeypatch.setattr(backends, "has_units_for", lambda _: has_units)
    prepared = ready(asked, precision="bf16")
    assert prepared.for_work(0)[1] is dtype
    assert prepared.used == {"torch" if dtype is not None else "torch fp32"}
