"""What the probes decide before a training: the timings are given, the gradients and the network are real."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from stages.common.layout import ChannelsLastInstanceNorm3d, copy_channels_last
from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network
from stages.common.runtime import Compute
from stages.train.computing import probe as probe_module
from stages.train.computing.precision import Decision
from stages.train.computing.probe import (
    SHORTEST_COMPILED_S,
    TIMED_STEPS,
    WARM_UP_STEPS,
    first_patches,
    fit,
    probe_cpu,
    probe_gpu,
    seconds_of,
)
from stages.train.computing.switches import Switches, Variant
from stages.train.losses import build_loss
from stages.train.params import TrainingParams
from stages.train.sampling.loading import Batch
from tests.unit.stages.train.tiny import random_batch, tiny_params

SHAPE = (4, 16, 16)
LOSS = build_loss("dice_ce")
BATCH = random_batch(SHAPE, size=4)
BF16 = Decision(name="bf16", reason="the GPU computes bf16", machine="a GPU")
FP32 = Decision(name="fp32", reason="asked for", machine="a GPU")
PLAIN = Variant()


def _network(architecture: str = "dynunet") -> torch.nn.Module:
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=SHAPE, filters=(4, 6, 8))
    return build_network(plan, 1, architecture=architecture, deep_supervision=False)


def _params(**changes: object) -> TrainingParams:
    return tiny_params(**{"patch_voxels": list(SHAPE), "batch_size": 4, "precision": "auto", **changes})


@pytest.fixture
def time_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Decision, Switches, list[Variant]]]:
    """`probe_gpu` with a given decision, seconds of a step by variant (else 1), and a compiler at hand."""

    def probed(
        seconds: dict[Variant, float | None],
        *,
        decision: Decision = BF16,
        compute: Compute | None = None,
        most: int = 4,
        compiler: str | None = "/usr/bin/cc",
        **changes: object,
    ) -> tuple[Decision, Switches, list[Variant]]:
        measured: list[Variant] = []

        def decide(_requested: object, _network: object, batch: Batch, *_: object, **_named: object) -> Decision:
            assert len(batch.image) == most
            return decision

        def seconds_of(_network: object, batch: Batch, _loss: object, own: Decision, variant: Variant) -> float | None:
            assert (len(batch.image), own) == (most, decision)
            measured.append(variant)
            return seconds.get(variant, 1.0)

        def attempt(_network: object, _batch: object, _loss: object, _dtype: object, size: int) -> None:
            if size > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(probe_module, "decide_precision", decide)
        monkeypatch.setattr(probe_module, "seconds_of", seconds_of)
        monkeypatch.setattr(probe_module, "try_step", attempt)
        monkeypatch.setattr("shutil.which", lambda name: compiler if name in {"cc", "gcc", "clang"} else None)
        found = probe_gpu(_params(**changes), compute or Compute(compile=True), _network(), BATCH, LOSS)
        return *found, measured

    return probed


def test_a_half_type_that_is_faster_is_taken(time_gpu: Callable[..., tuple[Decision, Switches, list[Variant]]]) -> None:
    """The decision of its gradients stands."""
    decision, switches, _ = time_gpu({Variant(half=True): 0.5})
    assert decision == BF16
    assert switches == Switches()


def test_a_half_type_that_is_right_but_not_faster_is_not_taken_and_that_is_said(
    time_gpu: Callable[..., tuple[Decision, Switches, list[Variant]]],
) -> None:
    """float32 is the safer one."""
    decision, _, _ = time_gpu({})
    assert decision == Decision(name="fp32", reason="bf16 is right, and not faster here", machine="a GPU")


def test_bf16_by_name_stays_however_slow_it_is(
    time_gpu: Callable[..., tuple[Decision, Switches, list[Variant]]],
) -> None:
    """params.yaml decides what; every variant is measured in it."""
    decision, switches, measured = time_gpu({Variant(half=True): 2.0}, precision="bf16")
    assert decision == BF16
    assert switches == Switches(channels_last=True)
    assert all(variant.half for variant in measured)


def test_where_the_decision_is_float32_no_half_type_is_measured(
    time_gpu: Callable[..., tuple[Decision, Switches, list[Variant]]],
) -> None:
    """What the gradients refused, or nobody asked for."""
    decision, switches, measured = time_gpu({Variant(channels_last=True): 0.5}, decision=FP32)
    assert decision == FP32
    assert switches == Switches(channels_last=True)
    assert not any(variant.half for variant in measured)


LAID_OUT = Variant(half=True, channels_last=True)
FASTER = {Variant(half=True): 0.5, LAID_OUT: 0.3, Variant(half=True, channels_last=True, compiled=True): 0.1}


@pytest.mark.parametrize(
    ("epochs", "compiler", "compile", "expected"),
    [
        (int(SHORTEST_COMPILED_S / 0.3) + 1, "/usr/bin/cc", True, Switches(channels_last=True, compiled=True)),
        (int(SHORTEST_COMPILED_S / 0.3) - 1, "/usr/bin/cc", True, Switches(channels_last=True)),
        (int(SHORTEST_COMPILED_S / 0.3) + 1, None, True, Switches(channels_last=True)),
        (int(SHORTEST_COMPILED_S / 0.3) + 1, "/usr/bin/cc", False, Switches()),
    ],
    ids=["long", "short", "without a compiler", "compile: off"],
)
def test_compiling_is_tried_in_a_training_that_is_long_enough_at_the_best_pace_so_far(
    time_gpu: Callable[..., tuple[Decision, Switches, list[Variant]]],
    epochs: int,
    compiler: str | None,
    compile: bool,
    expected: Switches,
) -> None:
    """A quarter of an hour of steps of 0.3 s each. `compile: off` leaves the memory format alone, too."""
    _, switches, measured = time_gpu(
        FASTER, compute=Compute(compile=compile), compiler=compiler, max_epochs=epochs, steps_per_epoch=1
    )
    assert switches == expected
    assert any(variant.compiled for variant in measured) is expected.compiled


def test_a_batch_that_does_not_fit_is_probed_and_trained_in_parts_that_do(
    time_gpu: Callable[..., tuple[Decision, Switches, list[Variant]]],
) -> None:
    """Half of the patches at a time; a step then takes twice as long as its probe."""
    half_as_long = int(SHORTEST_COMPILED_S / 0.3 / 2) + 1
    _, switches, measured = time_gpu(FASTER, most=2, max_epochs=half_as_long, steps_per_epoch=1)
    assert switches == Switches(micro_batch=2, channels_last=True, compiled=True)
    assert measured


@pytest.mark.parametrize(
    ("asked", "most", "micro_batch"), [(None, 4, None), (None, 3, 2), (None, 1, 1), (3, 1, 3), (8, 1, None)]
)
def test_a_micro_batch_is_the_asked_one_or_else_the_largest_that_fits(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, most: int, micro_batch: int | None
) -> None:
    """A number that was asked for is not tried; the other switches stay."""

    def attempt(_network: object, _batch: object, _loss: object, dtype: torch.dtype, size: int) -> None:
        assert dtype is torch.bfloat16
        if size > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(probe_module, "try_step", attempt)
    found = fit(Switches(compiled=True), Compute(micro_batch=asked), _network(), BATCH, LOSS, BF16)
    assert found == Switches(compiled=True, micro_batch=micro_batch)


@pytest.mark.parametrize(("architecture", "channels_last"), [("dynunet", True), ("segresnet", False)])
def test_on_a_cpu_channels_last_is_taken_where_the_network_keeps_it_and_nothing_is_timed(
    monkeypatch: pytest.MonkeyPatch, architecture: str, channels_last: bool
) -> None:
    """Two fresh runs must choose alike. The network stays as it was."""

    def refuse(*_: object) -> float:
        raise AssertionError("timed")

    monkeypatch.setattr(probe_module, "seconds_of", refuse)
    network = _network(architecture)
    decision, switches = probe_cpu(_params(precision="fp32"), Compute(micro_batch=2), network, BATCH, LOSS)
    assert decision.name == "fp32"
    assert switches == Switches(micro_batch=2, channels_last=channels_last)
    assert not any(isinstance(module, ChannelsLastInstanceNorm3d) for module in network.modules())


def test_on_a_cpu_channels_last_with_wrong_gradients_is_refused_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training computes as torch lays it out."""

    def spoilt(network: torch.nn.Module) -> torch.nn.Module:
        candidate = copy_channels_last(network)
        next(candidate.parameters()).register_hook(lambda gradient: -gradient)
        return candidate

    monkeypatch.setattr(probe_module, "copy_channels_last", spoilt)
    decision, switches = probe_cpu(_params(precision="fp32"), Compute(), _network(), BATCH, LOSS)
    assert (decision.name, switches) == ("fp32", Switches())
    assert "channels last is refused" in capsys.readouterr().out


def test_a_step_is_timed_as_the_median_of_those_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first steps allocate and compile; one slow step among the others changes nothing."""
    ticks = iter([*[100.0] * WARM_UP_STEPS, 2.0, 9.0, 1.0, 3.0, 2.5][: WARM_UP_STEPS + TIMED_STEPS])
    now = [0.0]

    def step(*_: object, **named: object) -> None:
        assert named == {"autocast_dtype": torch.bfloat16}
        now[0] += next(ticks)

    monkeypatch.setattr(probe_module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(probe_module, "add_gradients", step)
    assert seconds_of(_network(), BATCH, LOSS, BF16, Variant(half=True)) == 2.5


def test_a_variant_with_wrong_gradients_or_that_does_not_run_has_no_time_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Speed does not count there; the probe goes on to the next."""

    def fail(*_: object, **_named: object) -> None:
        raise RuntimeError("no such kernel\nand a long trace")

    network, fresh = _network(), _network()
    assert seconds_of(network, BATCH, LOSS, FP32, Variant(channels_last=True)) is not None
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in network.state_dict().items())
    apply = Switches.apply

    def spoil(switches: Switches, candidate: torch.nn.Module) -> None:
        apply(switches, candidate)
        next(candidate.parameters()).register_hook(lambda gradient: -gradient)

    monkeypatch.setattr(Switches, "apply", spoil)
    assert seconds_of(network, BATCH, LOSS, FP32, Variant(channels_last=True)) is None
    assert "channels last is refused" in capsys.readouterr().out
    monkeypatch.setattr(probe_module, "add_gradients", fail)
    assert seconds_of(network, BATCH, LOSS, FP32, PLAIN) is None
    assert "plain float32 does not run here: no such kernel\n" in capsys.readouterr().out


def test_the_first_patches_of_a_batch_are_a_batch() -> None:
    """Of every part as many."""
    part = first_patches(BATCH, 3)
    assert torch.equal(part.image, BATCH.image[:3])
    assert torch.equal(part.label, BATCH.label[:3])
    assert torch.equal(part.skeleton, BATCH.skeleton[:3])
    assert part.ids == BATCH.ids[:3]
