"""What a training leaves in MLflow, in a real embedded store: its run, and its network in the registry."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common.errors import ServiceError
from stages.common.layout import lay_out_channels_last
from stages.common.networks.catalogue import build_network
from stages.common.networks.supervision import plain
from stages.common.networks.weights import weights_sha256
from stages.common.provenance.record import FOLDER, RECORD, read_record
from stages.common.registered.finding import find_network, places_of
from stages.common.registered.loading import load_model
from stages.common.runtime import Compute, Monitoring, Runtime
from stages.common.tracking.cards.card import card_json
from stages.common.tracking.receipts import read_receipt
from stages.common.tracking.registry import CARD_TAG, FINGERPRINT_TAG, SEED_TAG, SETUP_TAG
from stages.common.tracking.server import connect
from stages.train.cell import Cell, plan_cell
from stages.train.computing.precision import Decision
from stages.train.computing.switches import Switches
from stages.train.loop.history import EpochRecord
from stages.train.loop.state import TrainingState
from stages.train.record import recorded, register
from tests.support.tracking.empty_store import start_store
from tests.support.tracking.provenance import HOST
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.common.tracking.opened import made_of
from tests.unit.stages.train.tiny import tiny_params

CPU = torch.device("cpu")


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    compute, monitoring = Compute(profile="a laptop"), Monitoring(interval_s=None)
    return embedded_runtime(start_store(tmp_path / "mlruns"), threads=3, compute=compute, monitoring=monitoring)


@pytest.fixture
def cell(processed: Path) -> Cell:
    return plan_cell(processed, tiny_params(), "warp", 1)


def _record(epoch: int, dsc: float | None) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        loss=0.5 / epoch,
        learning_rate=0.1,
        gradient_norm=1.0,
        nonfinite_steps=0,
        validation_dsc=dsc,
        seconds=2.0,
    )


def _state(cell: Cell) -> TrainingState:
    """After two epochs, the second of which was the worse one; laid out as a CPU trains it."""
    network = build_network(cell.plan, 1, architecture="dynunet", deep_supervision=True)
    lay_out_channels_last(network)
    return TrainingState(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters()),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        precision=Decision(name="bf16", reason="because", machine="here"),
        switches=Switches(channels_last=True, processes=2),
        epoch=2,
        history=[_record(1, 0.9), _record(2, 0.25)],
    )


def _points(client: Any, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


def test_a_training_is_recorded_with_its_params_and_registered_as_it_ended(cell: Cell, runtime: Runtime) -> None:
    """The last epoch's network, without heads, laid out plainly; the card says where it is and what it must be."""
    state = _state(cell)
    expected = copy.deepcopy(plain(state.network))
    with recorded(cell, runtime, state, CPU) as run:
        assert state.run_id == run.id
        card = register(cell, runtime, state, run)
    server = connect(runtime)
    client, run_id = server.client, made_of(run).info.run_id
    stored = client.get_run(run_id)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "warp-1"
    assert (stored.data.tags["capillary.loss"], stored.data.tags["capillary.fold"]) == ("warp", "1")
    assert stored.data.tags["capillary.torch"] == torch.__version__
    assert stored.data.tags["capillary.torch_cuda"] == (torch.version.cuda or "cpu")
    assert stored.data.params == {
        **{f"training.{key}": str(value) for key, value in cell.params.model_dump(mode="json").items()},
        "loss": "warp",
        "fold": "1",
        "training_volumes": "volume_0, volume_2",
        "validation_volumes": "volume_1",
        "network": cell.plan.describe(),
        "network_heads": "2",
        "network_parameters": str(sum(parameter.numel() for parameter in expected.parameters())),
        "precision": "bf16",
        "precision_reason": "because",
        "switches": state.switches.describe(),
        "profile": "a laptop",
        "device": "cpu",
        "threads": "3",
        "processes": "2",
    }
    assert _points(client, run_id, "loss") == [(1, 0.5), (2, 0.25)]
    assert _points(client, run_id, "validation_dsc") == [(1, 0.9), (2, 0.25)]

    assert (card.loss, card.fold, card.fingerprint) == ("warp", 1, runtime.fingerprint)
    assert (card.patch_voxels, card.epochs, card.precision) == ((4, 16, 16), 2, "bf16")
    assert (card.validation_dsc, card.recipe) == (0.25, cell.recipe)
    found = find_network(card, places_of(runtime))
    assert (found.name, found.version) == ("capillary-warp", "1")
    version = client.get_model_version(found.name, found.version)
    assert json.loads(version.tags[CARD_TAG]) == json.loads(card_json(card))
    assert client.get_registered_model(found.name).aliases == {}, "trained last is no reason to use a network"
    assert (version.tags[FINGERPRINT_TAG], version.tags[SEED_TAG]) == (runtime.fingerprint, str(cell.params.seed))
    assert version.tags[SETUP_TAG] == card.setup
    receipt = read_receipt(runtime.receipts, card.fingerprint, runtime.tracking_uri)
    assert receipt is not None
    assert (receipt.run_id, receipt.version) == (run_id, "1")
    network = load_model(found)
    assert type(network) is type(expected)
    assert weights_sha256(network) == weights_sha256(expected) == card.weights_sha256
    assert {type(part).__module__.split(".")[0] for part in network.modules()} <= {"monai", "torch"}


def test_a_training_records_where_it_comes_from(cell: Cell, runtime: Runtime, tmp_path: Path) -> None:
    """The host's half and its files, this interpreter's half, the params of the data, and short tags."""
    handed = tmp_path / "handed"
    handed.mkdir()
    (handed / "params.yaml").write_text("preprocess: {seed: 3}\ntraining: {seed: 7}\n")
    (handed / "changes.diff").write_text("diff")
    runtime = replace(runtime, provenance=replace(HOST, folder=handed, changed_count=1))
    with recorded(cell, runtime, _state(cell), CPU) as run:
        card = register(cell, runtime, run=run, state=_state(cell))
    client, stored = connect(runtime).client, made_of(run)
    run_id = stored.info.run_id
    files = [file.path for file in client.list_artifacts(run_id, FOLDER)]
    assert files == [f"{FOLDER}/{name}" for name in ("changes.diff", "params.yaml", RECORD)]
    record = read_record(Path(client.download_artifacts(run_id, f"{FOLDER}/{RECORD}", tmp_path)).read_bytes(), "it")
    assert record.host == replace(HOST, changed_count=1)
    assert (record.computing.precision, record.computing.threads, record.computing.processes) == ("bf16", 3, 2)
    assert (record.computing.seeds, record.computing.resumed_after) == ({"training": 7}, 2)
    assert record.software.packages["torch"] in torch.__version__
    assert stored.data.params["preprocess.seed"] == "3"
    for tags in (stored.data.tags, client.get_model_version(card.model_name, "1").tags):
        assert (tags["capillary.commit"], tags["capillary.dirty"]) == (HOST.commit, "true")


def test_a_resumed_training_goes_on_in_its_run_and_fills_in_what_it_lacks(cell: Cell, runtime: Runtime) -> None:
    """A process that was killed between keeping an epoch and logging it."""
    state = _state(cell)
    state.history = state.history[:1]
    with pytest.raises(KeyboardInterrupt), recorded(cell, runtime, state, CPU) as run:
        raise KeyboardInterrupt
    assert made_of(run).info.status == "KILLED"
    resumed = _state(cell)
    resumed.run_id = run.id
    with recorded(cell, runtime, resumed, CPU) as again:
        pass
    assert again.id == run.id
    assert _points(connect(runtime).client, made_of(run).info.run_id, "loss") == [(1, 0.5), (2, 0.25)]


def test_a_network_that_no_server_has_yet_is_found_where_it_waits(
    cell: Cell, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """evaluate goes on without a server, with the same network and the same card as with one."""
    offline = replace(runtime, tracking="offline", tracking_uri="http://127.0.0.1:9")
    with recorded(cell, offline, state := _state(cell), CPU) as run:
        card = register(cell, offline, state, run)
    found = find_network(card, places_of(offline))
    assert (found.version, weights_sha256(load_model(found))) == ("", card.weights_sha256)
    run.writer.spool.remove()
    with pytest.raises(ServiceError, match="CAPILLARY_TRACKING=offline"):
        find_network(card, places_of(offline))
