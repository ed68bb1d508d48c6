"""A training whose real MLflow server goes away and comes back: the server ends with what the record holds, once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stages.common.tracking.receipts import read_receipt
from stages.common.tracking.runs import destination, open_run
from stages.common.tracking.server import connect
from stages.common.tracking.spool import sender
from stages.common.tracking.spool.listing import spools_in
from stages.common.tracking.spool.records import PointsRecord
from stages.sync.sync import sync
from tests.support.tracking.fault_proxy import FaultProxy, fault_proxy
from tests.support.tracking.mlflow_server import mlflow_server
from tests.support.tracking.tracked import embedded_runtime

EPOCHS = 30


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[FaultProxy]:
    """In front of a real server."""
    with mlflow_server(tmp_path) as uri, fault_proxy("127.0.0.1", int(uri.rpartition(":")[2])) as proxy:
        yield proxy


def test_a_server_that_was_away_has_every_point_once(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away in the middle, back, away again at the end: then `sync` publishes what waits, and again nothing."""
    runtime = replace(
        embedded_runtime(tmp_path / "project", fingerprint="outage"), tracking_uri=proxy.url, artifact_root=None
    )
    load = tmp_path / "system.csv"
    load.write_text("a\n1\n")
    monkeypatch.setattr(sender, "ANSWER_PATIENCE_S", 0.5)
    with open_run(runtime, cell_tags={"loss": "a"}, run_name="a-0", system_metrics=False) as run:
        for epoch in range(EPOCHS):
            if epoch in (5, 20):
                proxy.close()
            if epoch == 12:
                proxy.open()
            run.log_metrics({"loss": 1.0 / (epoch + 1), "seconds": 2.0}, epoch)
        run.log_file(load, "system")
    assert run._sender is not None
    run._sender._thread.join()  # in a stage the process ends, and its locks with it
    (spool,) = spools_in(runtime.outbox)
    expected = Counter(
        (key, record.step, record.time_ms, value)
        for record, _ in spool.records()
        if isinstance(record, PointsRecord)
        for key, value in record.values.items()
    )
    proxy.open()
    to = destination(runtime)
    assert to is not None
    for _ in range(2):
        sync(runtime.outbox, to)
    client = connect(runtime).client
    experiment = client.get_experiment_by_name("capillary")
    assert experiment is not None
    (made,) = client.search_runs([experiment.experiment_id])
    history = [point for key in ("loss", "seconds") for point in client.get_metric_history(made.info.run_id, key)]
    found = Counter((point.key, point.step, point.timestamp, point.value) for point in history)
    assert found == expected
    assert set(found.values()) == {1}
    assert len(found) == 2 * EPOCHS
    assert made.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(made.info.run_id, "system")] == ["system/system.csv"]
    assert list(spools_in(runtime.outbox)) == []
    assert read_receipt(runtime.receipts, "outage", proxy.url) is None  # nothing was registered
