"""python -m stages.preflight: the gate before another stage of the same entry; ends with 9 when that could not end."""

from pathlib import Path

from stages.common.params import load_params
from stages.common.preflight.params import CONFIG_FILE, PreflightParams
from stages.common.preflight.table import log_checks
from stages.common.program.messages import get_logger
from stages.common.runtime import read_gate_runtime
from stages.common.stage_main import run_stage
from stages.preflight.gate import look, refuse

log = get_logger(__name__)


def main() -> None:
    """Look, tell, refuse."""
    runtime = read_gate_runtime()
    report = look(load_params(PreflightParams, Path(CONFIG_FILE)), runtime)
    log_checks(report, log)
    if report.failed:
        raise refuse(report, runtime.gated)


if __name__ == "__main__":
    run_stage(main)
