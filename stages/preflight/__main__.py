"""python -m stages.preflight: the gate before another stage of the same entry; ends with 9 when that could not end."""

from pathlib import Path

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.common.preflight.params import CONFIG_FILE, PreflightParams
from stages.common.preflight.table import lines
from stages.common.progress import say
from stages.common.runtime import read_gate_runtime
from stages.preflight.gate import look, refuse


def main() -> None:
    """Look, tell, refuse."""
    runtime = read_gate_runtime()
    report = look(load_params(PreflightParams, Path(CONFIG_FILE)), runtime)
    for line in lines(report):
        say(line)
    if report.failed:
        raise refuse(report, runtime.gated)


if __name__ == "__main__":
    run_main(main)
