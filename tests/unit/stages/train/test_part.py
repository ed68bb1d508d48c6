"""What a process of a training begins with: its device, torch's settings, and the state it starts from or resumes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import deterministic

from stages.common.device import choose_device
from stages.common.errors import CapillaryError
from stages.common.runtime import Compute
from stages.train import part as part_module
from stages.train.cell import Cell, plan_cell
from stages.train.computing.precision import Decision, describe_machine
from stages.train.computing.switches import Switches
from stages.train.distributed.ranks import ALONE, Ranks
from stages.train.part import RankSetup, configure_torch, set_up_rank, start_or_resume
from stages.train.resuming.interrupt import Interrupt
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.train.tiny import runtime_in, tiny_params

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    threads, filled = torch.get_num_threads(), deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


@pytest.fixture
def cell(processed: Path) -> Cell:
    return plan_cell(processed, tiny_params(batch_size=3, learning_rate=0.02, weight_decay=0.001), "cldice", 0)


def _begin(cell: Cell, state_dir: Path, ranks: Ranks = ALONE, **compute: Any) -> RankSetup:
    return set_up_rank(cell, runtime_in(state_dir, Compute(**{"device": "cpu", **compute})), Interrupt(), ranks)


@pytest.mark.parametrize(
    ("has_gpu", "device", "rank", "found"),
    [(False, "auto", 1, "cpu"), (True, "cpu", 1, "cpu"), (True, "auto", 0, "cuda:0"), (True, "auto", 2, "cuda:2")],
)
def test_each_rank_has_a_gpu_of_its_own_unless_the_cpu_is_asked_for_or_is_all_there_is(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool, device: str, rank: int, found: str
) -> None:
    """The profile's `device: cpu` wins over a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert choose_device(Compute(device=device), rank) == torch.device(found)


def test_torch_is_set_up_to_compute_the_same_each_time_on_the_asked_number_of_threads(tmp_path: Path) -> None:
    """On a CPU an algorithm that is not deterministic is an error, and memory is not filled for nothing."""
    torch.backends.cudnn.benchmark = True
    configure_torch(embedded_runtime(tmp_path, threads=2), CPU)
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert not torch.backends.cudnn.benchmark


def test_on_a_gpu_an_algorithm_without_a_deterministic_form_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some kernels have none there; the process computes on its own GPU."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    configure_torch(runtime_in(tmp_path, Compute()), torch.device("cuda", 1))
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert chosen == [torch.device("cuda", 1)]


@pytest.mark.parametrize("cache", ["map", "memory"])
def test_volumes_are_kept_in_memory_where_the_profile_says_so(cell: Cell, tmp_path: Path, cache: str) -> None:
    """`cache: memory` reads them once; `cache: map` reads each patch from the disk."""
    part = _begin(cell, tmp_path, cache=cache)
    for volume in cell.training:
        for file in volume.folder.iterdir():
            file.unlink()
    if cache == "memory":
        assert part.dataset[0].image_zyx.shape == (4, 16, 16)
    else:
        with pytest.raises(FileNotFoundError):
            part.dataset[0]


def test_a_part_has_the_cells_loss_and_its_own_share_of_the_first_batch(cell: Cell, tmp_path: Path) -> None:
    """cldice reads skeletons, so they are loaded; rank 1 of 2 has one patch of three."""
    part = _begin(cell, tmp_path, Ranks(rank=1, size=2, batch_size=3))
    assert part.loss.needs_skeleton
    assert part.batch.image.shape == (1, 1, 4, 16, 16)
    whole = _begin(cell, tmp_path).batch
    assert torch.equal(part.batch.image, whole.image[2:])
    assert (whole.skeleton != whole.label).any()


def test_a_fresh_training_has_the_optimizer_of_its_params_and_says_how_it_computes(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """AdamW with the learning rate and weight decay of params.yaml; nothing is scaled but in fp16."""
    state = start_or_resume(_begin(cell, tmp_path), lambda: None)
    (group,) = state.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.001)
    assert len(group["params"]) == len(list(state.network.parameters()))
    assert state.epoch == 0
    assert not state.scaler.is_enabled()
    said = capsys.readouterr().out
    assert f"precision {state.precision.name}" in said
    assert state.switches.describe() in said
    assert "resuming" not in said


def _saved(cell: Cell, state_dir: Path, **changes: Any) -> dict[str, Any]:
    """A checkpoint's content after one epoch and two steps."""
    state = start_or_resume(_begin(cell, state_dir), lambda: None)
    state.epoch, state.tally.steps_done = 1, 2
    for parameter in state.network.parameters():
        torch.nn.init.constant_(parameter, 0.25)
    return {**state.as_dict(), **changes}


def test_a_resumed_training_has_the_checkpoints_weights_and_computes_as_that_one_did(
    cell: Cell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither precision nor switches are decided again on the same machine."""
    decision = {"name": "fp16", "reason": "as it was", "machine": describe_machine(CPU)}
    switches = {"micro_batch": 2, "processes": 1, "channels_last": False, "compiled": False}
    scaler = torch.amp.GradScaler("cpu", init_scale=128.0).state_dict()
    saved = _saved(cell, tmp_path, precision=decision, switches=switches, scaler=scaler)
    capsys.readouterr()
    state = start_or_resume(_begin(cell, tmp_path), lambda: saved)
    assert state.precision == Decision(**decision)
    assert state.switches == Switches(**switches)
    assert state.scaler.get_scale() == 128
    assert all((parameter == 0.25).all() for parameter in state.network.parameters())
    said = capsys.readouterr().out
    assert "as it was" in said
    assert "resuming after epoch 1, step 2" in said


def test_a_micro_batch_that_is_asked_for_wins_over_the_checkpoints(cell: Cell, tmp_path: Path) -> None:
    """Memory may force it; its bound is this process's share of a batch."""
    saved = _saved(cell, tmp_path)
    assert start_or_resume(_begin(cell, tmp_path, micro_batch=1), lambda: saved).switches.micro_batch == 1
    assert start_or_resume(_begin(cell, tmp_path, micro_batch=3), lambda: saved).switches.micro_batch is None


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_checkpoint_of_another_machine_is_probed_in_the_order_that_it_computes_in(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels_last: bool
) -> None:
    """Wrong gradients here refuse it, and what is probed lies in memory as the training's network does."""
    decision = {"name": "bf16", "reason": "", "machine": "another processor"}
    switches = {"micro_batch": None, "processes": 1, "channels_last": channels_last, "compiled": False}
    saved = _saved(cell, tmp_path, precision=decision, switches=switches)
    probed: list[object] = []

    def refuse(_decision: object, network: object, _batch: object, _loss: object, device: object, laid: object) -> None:
        probed.extend([network, device, laid])
        raise CapillaryError("wrong gradients", remedy="", code=6)  # type: ignore[arg-type]

    monkeypatch.setattr(part_module, "confirm_precision", refuse)
    with pytest.raises(CapillaryError, match="wrong gradients"):
        start_or_resume(_begin(cell, tmp_path), lambda: saved)
    network, device, laid_out = probed
    assert device == CPU
    assert (laid_out is not None) is channels_last
    assert laid_out is not network
