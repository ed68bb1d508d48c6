import pytest
import torch
from monai.networks.nets.dynunet import DynUNet

from stages.common.errors import CapillaryError
from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network
from stages.train.computing.precision import Decision, confirm_precision, decide_precision, describe_machine, probe
from stages.train.losses import build_loss
from stages.train.params import Precision
from tests.unit.stages.train.tiny import random_batch

CPU = torch.device("cpu")
LOSS = build_loss("dice_ce")

needs_bf16 = pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"),
    reason="the kernels under test are those of a processor with AVX512-BF16; this one has none",
)


def _sound(heads: bool = False) -> torch.nn.Module:
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(8, 32, 32), filters=(16, 32, 64))
    return build_network(plan, 3, architecture="dynunet", deep_supervision=heads)


def _defective() -> torch.nn.Module:
    """A depth of 8 halved twice: 3×3×3 kernels on a depth of 2, which torch 2.13 gets wrong in bf16 on a CPU."""
    strides = [(1, 1, 1), (2, 2, 2), (2, 2, 2)]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return DynUNet(
            3,
            1,
            2,
            [(3, 3, 3)] * 3,
            strides,
            strides[1:],
            filters=(16, 32, 64),
            norm_name=("INSTANCE", {"affine": True}),
        )


BATCH = random_batch((8, 32, 32))


@needs_bf16
def test_auto_takes_bf16_for_a_planned_network_and_leaves_it_untouched() -> None:
    """The probe passes on what the planner builds; weights, gradients and random state stay as they were."""
    network, fresh, before = _sound(), _sound(), torch.get_rng_state()
    decision = decide_precision(Precision.AUTO, network, BATCH, LOSS, CPU)
    assert decision.name == "bf16"
    assert decision.autocast_dtype == torch.bfloat16
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@needs_bf16
def test_auto_falls_back_to_fp32_on_the_known_kernel_defect_and_says_where() -> None:
    """A network that meets the defect never trains in bf16; the reason names a parameter and two figures."""
    decision = decide_precision(Precision.AUTO, _defective(), BATCH, LOSS, CPU)
    assert decision.name == "fp32"
    assert "conv" in decision.reason
    assert "% from fp32" in decision.reason
    assert "% from itself" in decision.reason


@needs_bf16
def test_bf16_by_name_is_refused_on_the_known_kernel_defect() -> None:
    """Who insists on bf16 gets an error with a remedy, not wrong gradients."""
    with pytest.raises(CapillaryError) as refusal:
        decide_precision(Precision.BF16, _defective(), BATCH, LOSS, CPU)
    assert "precision" in refusal.value.remedy
    assert "is off by" in refusal.value.report()


@needs_bf16
def test_sound_and_defective_networks_lie_far_apart() -> None:
    """The threshold sits in a wide gap, so neither rounding nor luck decides."""
    batches = [random_batch((8, 32, 32), seed=seed) for seed in range(2)]
    sound = max(probe(_sound(), batch, LOSS, torch.bfloat16).error for batch in batches)
    defective = min(probe(_defective(), batch, LOSS, torch.bfloat16).error for batch in batches)
    assert sound < 0.6
    assert defective > 0.8


def test_fp32_is_taken_without_a_probe() -> None:
    """Nothing to check, nothing computed."""
    decision = decide_precision(Precision.FP32, torch.nn.Identity(), BATCH, LOSS, CPU)
    assert (decision.name, decision.autocast_dtype) == ("fp32", None)


@needs_bf16
def test_a_decision_is_probed_again_on_another_machine_only() -> None:
    """A checkpoint that moves to a machine with wrong gradients does not go on."""
    here = Decision(name="bf16", reason="", machine=describe_machine(CPU))
    confirm_precision(here, _defective(), BATCH, LOSS, CPU)
    elsewhere = Decision(name="bf16", reason="", machine="another processor")
    confirm_precision(elsewhere, _sound(), BATCH, LOSS, CPU)
    with pytest.raises(CapillaryError, match="wrong gradients"):
        confirm_precision(elsewhere, _defective(), BATCH, LOSS, CPU)


@needs_bf16
def test_gradients_that_are_not_numbers_are_not_acceptable() -> None:
    """NaN compares with nothing, and must still fail."""
    network = _sound()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    assert not probe(network, BATCH, LOSS, torch.bfloat16).acceptable


@needs_bf16
def test_the_heads_of_deep_supervision_are_probed_with_the_network() -> None:
    """Sound heads pass; one whose gradient is wrong is found and named."""
    assert probe(_sound(heads=True), BATCH, LOSS, torch.bfloat16).acceptable
    spoilt = _sound(heads=True)
    turns = iter(range(3))
    spoilt.get_parameter("heads.0.weight").register_hook(lambda gradient: gradient * (1 + next(turns)))
    worst = probe(spoilt, BATCH, LOSS, torch.bfloat16)
    assert worst.parameter == "heads.0.weight"
    assert not worst.acceptable
