"""Two real processes that meet through gloo, and what each of them found; one start serves all tests of a module."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from stages.common.imaging.volumes import Volume
from stages.common.networks.catalogue import build_network
from stages.common.networks.plan import plan_network
from stages.train.computing.gradients import add_gradients
from stages.train.computing.precision import Decision
from stages.train.distributed.ranks import Ranks
from stages.train.loop.state import TrainingState
from stages.train.loop.step import take_step
from stages.train.loop.validate import plan_tiles, validation_dsc
from stages.train.losses import build_loss
from stages.train.losses.catalogue import LOSSES
from stages.train.params import TrainingParams
from stages.train.sampling.loading import Batch, PatchDataset, batches
from tests.unit.stages.train.distributed.start import SIZE, start_two
from tests.unit.stages.train.tiny import random_batch, tiny_params

PATCHES = 5  # three for rank 0, two for rank 1
MICRO_BATCHES = (None, 1, 2, 4)
SHAPE = (4, 16, 16)
BATCH = random_batch(SHAPE, size=PATCHES, seed=3)


def params() -> TrainingParams:
    """A training whose batch two processes cannot halve."""
    return tiny_params(batch_size=PATCHES)


def network(dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    """The same small network wherever it is built."""
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=SHAPE, filters=(4, 6, 8))
    return build_network(plan, seed=1, architecture="dynunet", deep_supervision=True).to(dtype)


def fresh_state() -> TrainingState:
    """A training in float64 before its first step."""
    own = network()
    return TrainingState(
        network=own,
        optimizer=torch.optim.AdamW(own.parameters(), lr=0.1),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        precision=Decision(name="fp32", reason="", machine=""),
    )


def batch_of(share: slice, *, poisoned: bool = False) -> Batch:
    """Patches of BATCH in float64; poisoned: the last of all is NaN."""
    image = BATCH.image.double()
    if poisoned:
        image[-1] = float("nan")
    ids = [f"patch {number}" for number in range(PATCHES)]
    return Batch(image=image[share], label=BATCH.label[share], skeleton=BATCH.skeleton[share], ids=ids[share])


def gradients(loss: str, ranks: Ranks, micro_batch: int | None) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of the whole batch and the parameters' gradients."""
    own = network()
    value = add_gradients(own, batch_of(ranks.share()), build_loss(loss), micro_batch=micro_batch, ranks=ranks)
    return value, {name: each.grad for name, each in own.named_parameters() if each.grad is not None}


def step(ranks: Ranks, *, poisoned: bool) -> tuple[str, dict[str, Any]]:
    """The result of one step, as text, and the weights after it."""
    state = fresh_state()
    batch = batch_of(ranks.share(), poisoned=poisoned)
    result = take_step(state, batch, build_loss("dice_ce"), learning_rate=0.01, grad_clip_norm=0.1, ranks=ranks)
    return str(result), dict(state.network.state_dict())


def score(volumes: list[Volume], ranks: Ranks) -> float:
    """The validation of a fresh network."""
    tiles = plan_tiles([volume.shape_zyx for volume in volumes], params())
    return validation_dsc(network(torch.float32), volumes, tiles, params(), None, lambda: None, ranks)


def loaded(volumes: list[Volume], ranks: Ranks) -> list[torch.Tensor]:
    """The images of every batch from step 1 on."""
    dataset = PatchDataset(volumes, params(), needs_skeleton=False)
    return [batch.image for batch in batches(dataset, params(), 1, 0, ranks=ranks)]


def _observe(ranks: Ranks, volumes: list[Volume]) -> dict[str, Any]:
    ragged = torch.arange(PATCHES * 2).reshape(PATCHES, 2)[ranks.share()]
    sums = [torch.full((2, 3), ranks.rank + 1.0), torch.full((4,), 10.0 * (ranks.rank + 1))]
    ranks.add_up(sums)
    return {
        "gathered": ranks.gather(ragged),
        "names": ranks.gather_names([f"rank {ranks.rank}"]),
        "asked": [ranks.any_asks(ranks.leads), ranks.any_asks(not ranks.leads), ranks.any_asks(False)],
        "first": ranks.first(None if ranks.leads else f"of rank {ranks.rank}"),
        "once": ranks.once(lambda: {"made by": ranks.rank}),
        "sums": sums,
        "gradients": {(loss, size): gradients(loss, ranks, size) for loss in LOSSES for size in MICRO_BATCHES},
        "step": step(ranks, poisoned=False),
        "poisoned": step(ranks, poisoned=True),
        "score": score(volumes, ranks),
        "loaded": loaded(volumes, ranks),
    }


def _process(rank: int, folder: Path, volumes: list[Volume]) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=SIZE)
    found = _observe(Ranks(rank=rank, size=SIZE, batch_size=PATCHES), volumes)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def observe(folder: Path, volumes: list[Volume]) -> list[dict[str, Any]]:
    """What each of the processes found."""
    start_two(_process, (folder, volumes))
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(SIZE)]
