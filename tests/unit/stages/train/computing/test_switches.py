"""Which switches a probe keeps, what a resumed training computes with, and that a network keeps its names."""

import copy
import pickle

import pytest
import torch

from stages.common.layout import lay_out_plainly
from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network
from stages.common.runtime import Compute
from stages.train.computing.precision import Decision, decide_precision, probe
from stages.train.computing.probe import probe_gpu
from stages.train.computing.switches import Switches, Variant, asked_for, fastest, resumed
from stages.train.losses import build_loss
from stages.train.params import Precision
from tests.unit.stages.train.tiny import random_batch, tiny_params

PLAIN = Variant()
SHAPE = (4, 16, 16)
LOSS = build_loss("dice_ce")


def _network() -> torch.nn.Module:
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=SHAPE, filters=(4, 6, 8))
    return build_network(plan, 1, architecture="dynunet", deep_supervision=True)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({}, PLAIN),
        ({"half": 0.5}, Variant(half=True)),
        ({"half": 0.95}, PLAIN),  # 5 % may be noise
        ({"half": 0.89}, Variant(half=True)),
        ({"half": 0.5, "channels_last": 0.8, "compiled": 0.7}, Variant(half=True, channels_last=True, compiled=True)),
        ({"half": 1.5, "channels_last": 0.8}, Variant(channels_last=True)),
        ({"half": None, "compiled": 0.5}, Variant(compiled=True)),
        ({"channels_last": None, "compiled": None}, PLAIN),
    ],
)
def test_a_switch_is_kept_only_where_it_pays(gains: dict[str, float | None], expected: Variant) -> None:
    """Each is measured on top of those that were kept; what is refused (None) is not taken however quick."""

    def measure(variant: Variant) -> float | None:
        seconds = 1.0
        for name, gain in gains.items():
            if getattr(variant, name):
                if gain is None:
                    return None
                seconds *= gain
        return seconds

    assert fastest(PLAIN, may_halve=True, may_relayout=True, may_compile=True, measure=measure) == expected


def test_what_is_not_allowed_is_not_even_measured() -> None:
    """`off` in the profile."""
    measured: list[Variant] = []

    def measure(variant: Variant) -> float:
        measured.append(variant)
        return 0.1 if variant != PLAIN else 1.0

    assert fastest(PLAIN, may_halve=False, may_relayout=False, may_compile=False, measure=measure) == PLAIN
    assert measured == [PLAIN]


@pytest.mark.parametrize(
    ("kept", "asked", "expected"),
    [
        (Switches(micro_batch=2, channels_last=True), None, Switches(micro_batch=2, channels_last=True)),
        (Switches(micro_batch=2, compiled=True), 1, Switches(micro_batch=1, compiled=True)),
        (Switches(), 4, Switches()),
        (Switches(), 2, Switches(micro_batch=2)),
        (Switches(micro_batch=2), 2, Switches(micro_batch=2)),
    ],
)
def test_a_resumed_training_computes_as_it_began_unless_a_number_is_asked_for(
    kept: Switches, asked: int | None, expected: Switches, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who lacks memory asks for less, and is told that rounding differs from there on."""
    assert resumed(kept, Compute(micro_batch=asked), batch_size=4) == expected
    assert ("rounding differs" in capsys.readouterr().out) == (kept != expected)


def test_without_a_probe_the_whole_batch_goes_at_a_time() -> None:
    """The default of a CPU."""
    assert asked_for(Compute(), 4) == Switches()
    assert asked_for(Compute(micro_batch=8), 4) == Switches()
    assert asked_for(Compute(micro_batch=2), 4) == Switches(micro_batch=2)


@pytest.mark.parametrize("switches", [Switches(channels_last=True), Switches(compiled=True)])
def test_a_switched_network_keeps_names_values_and_can_be_saved(switches: Switches) -> None:
    """A checkpoint and a registered model do not know how they were computed."""
    network, plain = _network(), _network()
    switches.apply(network)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in network.state_dict().items())
    lay_out_plainly(network)
    again = pickle.loads(pickle.dumps(network))
    assert all(value.is_contiguous() for value in again.state_dict().values())
    image = torch.rand(1, 1, *SHAPE)
    torch.testing.assert_close(again(image), plain(image))


def test_channels_last_computes_the_same_gradients() -> None:
    """The probe that would refuse a wrong kernel finds nothing."""
    network = _network()
    candidate = copy.deepcopy(network)
    Switches(channels_last=True).apply(candidate)
    assert probe(network, random_batch(SHAPE), LOSS, None, candidate=candidate).error < 1e-3


def test_a_candidate_with_wrong_gradients_is_refused() -> None:
    """A kernel that computes something else is found by its parameter."""
    network = _network()
    candidate = copy.deepcopy(network)
    name, parameter = next(iter(candidate.named_parameters()))
    parameter.register_hook(lambda gradient: -gradient)
    worst = probe(network, random_batch(SHAPE), LOSS, None, candidate=candidate)
    assert not worst.acceptable
    assert worst.parameter == name


def test_amp_off_means_fp32_for_auto_alone() -> None:
    """The profile decides how; a precision that params.yaml names is part of what."""
    decide = decide_precision
    cpu = torch.device("cpu")
    decision = decide(Precision.AUTO, _network(), random_batch(SHAPE), LOSS, cpu, allow_half=False)
    assert (decision.name, "amp: off" in decision.reason) == ("fp32", True)


def test_the_whole_probe_runs_and_leaves_the_network_as_it_was() -> None:
    """On this machine's CPU in place of a GPU: the steps are real, only the device is slower."""
    network, fresh, before = _network(), _network(), torch.get_rng_state()
    params = tiny_params(patch_voxels=list(SHAPE), batch_size=3, precision="fp32")
    batch = random_batch(SHAPE, size=3)
    decision, switches = probe_gpu(params, Compute(compile=True), network, batch, LOSS)
    assert decision.name == "fp32"
    assert isinstance(decision, Decision)
    assert switches.micro_batch is None
    assert not switches.compiled, "the training is too short to win back a minute of compiling"
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in network.state_dict().items())
    assert torch.equal(before, torch.get_rng_state())
    _, asked = probe_gpu(params, Compute(micro_batch=2), network, batch, LOSS)
    assert asked.micro_batch == 2
