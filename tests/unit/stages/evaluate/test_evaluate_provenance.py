"""Where an evaluation comes from, as its run says."""

from dataclasses import replace
from pathlib import Path

from stages.common.provenance.record import COMMIT_TAG, FOLDER, RECORD, read_record
from stages.common.tracking.spool.records import TagsRecord
from stages.evaluate.cells import Cell
from stages.evaluate.params import EvaluateParams
from stages.evaluate.provenance import log_provenance
from tests.support.tracking.cards import CARD
from tests.support.tracking.provenance import HOST
from tests.support.tracking.tracked import embedded_runtime
from tests.unit.stages.common.tracking.opened import open_quiet
from tests.unit.stages.evaluate.made import evaluation, training


def test_an_evaluation_records_where_it_comes_from(tmp_path: Path) -> None:
    """As a training does: its own record with the host's half, the host's files, short tags."""
    handed = tmp_path / "handed"
    handed.mkdir()
    (handed / "params.yaml").write_text("evaluation: {threshold: 0.4}\n")
    runtime = embedded_runtime(
        tmp_path / "mlruns",
        stage="evaluate",
        tracking="offline",
        tracking_uri="http://127.0.0.1:9",
        threads=3,
        provenance=replace(HOST, folder=handed),
    )
    params = EvaluateParams(training=training(("dice_ce",), (0, 1)), evaluation=evaluation(seed=5))
    cards = (replace(CARD, fold=fold, precision=precision) for fold, precision in enumerate(("fp32", "bf16")))
    cells = [Cell(loss="dice_ce", fold=card.fold, card=card, volumes=()) for card in cards]
    with open_quiet(runtime) as run:
        log_provenance(run, cells, params, runtime, {"torch", "OpenVINO 2026.4.1 f32"})
    spool = run.writer.spool
    kept = spool.folder / "files" / FOLDER
    assert (kept / "params.yaml").read_text() == "evaluation: {threshold: 0.4}\n"
    record = read_record((kept / RECORD).read_bytes(), "it")
    assert (record.stage, record.host) == ("evaluate", HOST)
    assert (record.computing.threads, record.computing.precision) == (3, "bf16, fp32")
    assert record.computing.switches == "OpenVINO 2026.4.1 f32, torch"
    assert record.computing.seeds == {"evaluation": 5}
    tags = [one.values for one, _ in spool.records() if isinstance(one, TagsRecord)]
    assert HOST.commit in {values.get(COMMIT_TAG) for values in tags}
