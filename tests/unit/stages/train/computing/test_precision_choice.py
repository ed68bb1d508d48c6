"""How the arithmetic of a training is chosen from what a machine can do and what a probe found.

The machine is described, so that every choice is tested on each of them; the probes are real, in float32.
"""

from collections.abc import Iterator

import pytest
import torch

from stages.common.errors import CapillaryError, ExitCode
from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network
from stages.train.computing import precision
from stages.train.computing.precision import (
    LARGEST_ERROR,
    LARGEST_UNSTEADINESS,
    SMALLEST_SHARE,
    Decision,
    Deviation,
    confirm_precision,
    decide_precision,
    describe_machine,
    probe,
)
from stages.train.losses import build_loss
from stages.train.params import Precision
from tests.unit.stages.train.tiny import random_batch

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LOSS = build_loss("dice_ce")
BATCH = random_batch((4, 16, 16))
GOOD = Deviation(parameter="conv.weight", error=0.25, unsteadiness=0.0)
BAD = Deviation(parameter="conv.weight", error=0.9, unsteadiness=0.0)


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(4, 2, 3, padding=1)
    )


def _with_factors(name: str, *factors: float) -> torch.nn.Module:
    """A network whose gradient of `name` is as many times too large, one factor for each time it is computed."""
    network, turns = _network(), iter(factors)
    network.get_parameter(name).register_hook(lambda gradient: gradient * next(turns))
    return network


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The types in which gradients were probed; each probe finds them right."""
    dtypes: list[object] = []
    monkeypatch.setattr(precision, "probe", lambda *given: dtypes.append(given[3]) or GOOD)
    return dtypes


@pytest.mark.parametrize(
    ("abilities", "name"),
    [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512": True}, "fp32"), ({}, "fp32")],
)
def test_on_a_cpu_auto_takes_bf16_where_the_processor_computes_it(
    monkeypatch: pytest.MonkeyPatch, probed: list[object], abilities: dict[str, bool], name: str
) -> None:
    """Either instruction set will do; without one there is nothing to probe."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**abilities, "cpu_name": "a processor"})
    decision = decide_precision(Precision.AUTO, _network(), BATCH, LOSS, CPU)
    assert decision.name == name
    assert decision.machine == f"a processor, torch {torch.__version__}"
    assert probed == ([torch.bfloat16] if name == "bf16" else [])
    assert "processor" in decision.reason


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_on_a_gpu_auto_takes_bf16_or_else_fp16(
    monkeypatch: pytest.MonkeyPatch, probed: list[object], has_bf16: bool, name: str
) -> None:
    """bf16 that the driver only emulates is slow, and does not count."""

    def supported(including_emulation: bool = True) -> bool:
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "a GPU")
    decision = decide_precision(Precision.AUTO, _network(), BATCH, LOSS, GPU)
    assert decision.name == name
    assert decision.machine == f"a GPU, torch {torch.__version__}"
    assert decision.autocast_dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    assert probed == [decision.autocast_dtype]


@pytest.mark.parametrize(
    ("requested", "allow_half", "name"),
    [
        (Precision.FP32, True, "fp32"),
        (Precision.BF16, True, "bf16"),
        (Precision.BF16, False, "bf16"),
        (Precision.AUTO, True, "bf16"),
        (Precision.AUTO, False, "fp32"),
    ],
)
def test_a_precision_that_is_named_is_taken_and_amp_off_limits_auto_alone(
    monkeypatch: pytest.MonkeyPatch, probed: list[object], requested: Precision, allow_half: bool, name: str
) -> None:
    """params.yaml says what is trained, the profile only how."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    decision = decide_precision(requested, _network(), BATCH, LOSS, CPU, allow_half=allow_half)
    assert decision.name == name
    assert len(probed) == (name == "bf16")
    assert ("amp: off" in decision.reason) is (requested is Precision.AUTO and not allow_half)


def test_gradients_that_agree_are_named_in_the_reason_and_wrong_ones_refuse_the_half_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """auto falls back to float32 and says why; bf16 by name is an error that does not train."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision, "probe", lambda *_: GOOD)
    assert "conv.weight, 25%" in decide_precision(Precision.AUTO, _network(), BATCH, LOSS, CPU).reason
    monkeypatch.setattr(precision, "probe", lambda *_: BAD)
    decision = decide_precision(Precision.AUTO, _network(), BATCH, LOSS, CPU)
    assert (decision.name, decision.autocast_dtype) == ("fp32", None)
    assert decision.reason == f"bf16 is refused: {BAD.describe()}"
    with pytest.raises(CapillaryError) as refusal:
        decide_precision(Precision.BF16, _network(), BATCH, LOSS, CPU)
    assert refusal.value.code is ExitCode.MACHINE
    assert refusal.value.value == BAD.describe()
    assert "training.precision" in refusal.value.remedy


def test_a_candidate_is_what_is_probed_in_place_of_the_network() -> None:
    """A copy that lies otherwise in memory computes the training's gradients, so it is judged."""
    spoilt = _with_factors("2.weight", -1.0, -1.0)
    with pytest.raises(CapillaryError):
        decide_precision(Precision.BF16, _network(), BATCH, LOSS, CPU, candidate=spoilt)
    elsewhere = Decision(name="bf16", reason="", machine="another processor")
    with pytest.raises(CapillaryError):
        confirm_precision(elsewhere, _network(), BATCH, LOSS, CPU, _with_factors("2.weight", -1.0, -1.0))


@pytest.mark.parametrize(
    ("name", "elsewhere", "is_probed"),
    [("fp32", True, False), ("fp32", False, False), ("bf16", False, False), ("bf16", True, True)],
)
def test_a_checkpoints_decision_is_probed_on_another_machine_alone(
    probed: list[object], name: str, elsewhere: bool, is_probed: bool
) -> None:
    """float32 is right everywhere; here the other types were probed when the training began."""
    machine = "another processor" if elsewhere else describe_machine(CPU)
    confirm_precision(Decision(name=name, reason="", machine=machine), _network(), BATCH, LOSS, CPU)
    assert probed == ([torch.bfloat16] if is_probed else [])


@pytest.mark.parametrize(
    ("error", "unsteadiness", "acceptable"),
    [
        (LARGEST_ERROR, LARGEST_UNSTEADINESS, True),
        (LARGEST_ERROR + 0.01, 0.0, False),
        (0.0, LARGEST_UNSTEADINESS + 0.01, False),
        (float("nan"), 0.0, False),
        (0.0, float("nan"), False),
    ],
)
def test_a_deviation_is_acceptable_up_to_both_limits(error: float, unsteadiness: float, acceptable: bool) -> None:
    """Half of a gradient may be rounding (measured up to 0.5); a twentieth may vary from one time to the next."""
    assert 0.5 < LARGEST_ERROR < 0.9
    assert 0 < LARGEST_UNSTEADINESS < 0.1
    deviation = Deviation(parameter="x", error=error, unsteadiness=unsteadiness)
    assert deviation.acceptable is acceptable
    assert f"{LARGEST_ERROR:.0%}" in deviation.describe()
    assert f"{LARGEST_UNSTEADINESS:.0%}" in deviation.describe()


@pytest.mark.parametrize(
    ("factors", "error", "unsteadiness"),
    [((1.5, 1.5), 0.5, 0.0), ((1.0, 1.25), 0.0, 0.25), ((0.5, 0.75), 0.5, 0.25), ((1.0, 1.0), 0.0, 0.0)],
)
def test_error_is_measured_against_float32_and_unsteadiness_against_the_same_again(
    factors: tuple[float, float], error: float, unsteadiness: float
) -> None:
    """Both relative to the gradient's own size."""
    worst = probe(_network(), BATCH, LOSS, None, _with_factors("2.weight", *factors))
    assert worst.error == pytest.approx(error, abs=1e-5)
    assert worst.unsteadiness == pytest.approx(unsteadiness, abs=1e-5)
    if error or unsteadiness:
        assert worst.parameter == "2.weight"


def test_a_refused_parameter_is_reported_before_one_that_deviates_more_within_its_limit() -> None:
    """0.1 of unsteadiness is refused, 0.6 of error is not."""
    candidate, turns = _with_factors("0.weight", 1.6, 1.6), iter((1.0, 1.1))
    candidate.get_parameter("2.weight").register_hook(lambda gradient: gradient * next(turns))
    worst = probe(_network(), BATCH, LOSS, None, candidate)
    assert worst.parameter == "2.weight"
    assert not worst.acceptable


class _WithASmallPart(torch.nn.Module):
    """Two convolutions added up, the second of them `share` times as large."""

    def __init__(self, share: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large, self.small = (torch.nn.Conv3d(1, 2, 3, padding=1, bias=False) for _ in range(2))
        self._share = share

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.large(image) + self._share * self.small(image)
        return logits


@pytest.mark.parametrize(("share", "acceptable"), [(SMALLEST_SHARE / 4, True), (SMALLEST_SHARE * 4, False)])
def test_a_gradient_that_is_a_small_share_of_the_whole_is_measured_against_that_share(
    share: float, acceptable: bool
) -> None:
    """Rounding in it moves nothing; twice as large is too much only where it matters."""
    candidate = _WithASmallPart(share)
    candidate.small.weight.register_hook(lambda gradient: 2 * gradient)
    worst = probe(_WithASmallPart(share), BATCH, LOSS, None, candidate)
    assert worst.parameter == "small.weight"
    assert worst.acceptable is acceptable


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_probe_compares_the_asked_type_with_float32_on_the_whole_batch(dtype: torch.dtype) -> None:
    """One pass in float32 and two in the type; a layer that is right in both deviates by rounding only."""
    network, seen = _network(), []

    def note(_network: torch.nn.Module, given: tuple[torch.Tensor]) -> None:
        arithmetic = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        seen.append((arithmetic, torch.is_grad_enabled(), len(given[0])))

    network.register_forward_pre_hook(note)
    worst = probe(network, BATCH, LOSS, dtype)
    assert seen == [(None, False, 2), (None, True, 2), (dtype, True, 2), (dtype, True, 2)]
    assert 0 < worst.error < 0.1
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gradients_that_are_not_numbers_are_not_acceptable() -> None:
    """NaN compares with nothing, and must still fail."""
    network = _network()
    torch.nn.init.constant_(network.get_parameter("0.weight"), float("nan"))
    assert probe(network, BATCH, LOSS, None).error == float("inf")


def test_a_head_of_deep_supervision_with_a_wrong_gradient_is_found_and_named() -> None:
    """Every head has its share in the gradient that is sent back."""
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(4, 16, 16), filters=(4, 6, 8))
    network, spoilt = (build_network(plan, 1, architecture="dynunet", deep_supervision=True) for _ in range(2))
    assert probe(network, BATCH, LOSS, None).error == 0
    spoilt.get_parameter("heads.0.weight").register_hook(lambda gradient: 3 * gradient)
    worst = probe(network, BATCH, LOSS, None, spoilt)
    assert (worst.parameter, worst.error) == ("heads.0.weight", pytest.approx(2))


def test_a_network_without_any_gradient_deviates_by_nothing() -> None:
    """0 of 0 is no error."""
    network = _network()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    worst = probe(network, BATCH, lambda logits, *_: (logits * 0).sum(), None)
    assert (worst.error, worst.unsteadiness) == (0.0, 0.0)
