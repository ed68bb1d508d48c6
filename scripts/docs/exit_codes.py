"""python -m scripts.docs.exit_codes: write the table of docs/exit-codes.md, a row per ExitCode."""

from collections.abc import Iterator
from pathlib import Path

from stages.common.errors import ExitCode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "exit-codes.md"
_HEAD = ["| code | name | what it means | what to do |", "|---|---|---|---|"]
_NAMES = {ExitCode.CELLS_FAILED: "some failed"}  # others are called as in the code
# (what it means, what to do)
MEANINGS = {
    ExitCode.UNEXPECTED: (
        "a defect; the traceback is printed",
        "report it with the traceback",
    ),
    ExitCode.USAGE: (
        "a command, option or setting of this machine is wrong",
        "correct it as the message says",
    ),
    ExitCode.PARAMS: (
        "a key or value in `params.yaml` or an experiment file is wrong",
        "correct the key that is named",
    ),
    ExitCode.DATA: (
        "stacks, labels or tables are missing, unreadable or inconsistent; a file that a run relies on is"
        " damaged (`dvc.lock`, `mlruns/mlflow.db`, a model card, a file from DVC's cache, a table that a "
        "report shows); or a dep changed while the stage ran; or `capillary cache audit` found a result "
        "that its inputs do not give",
        "correct or restore the file that is named; or repeat",
    ),
    ExitCode.UNDECLARED: (
        "a stage tried to read, write or reach what `dvc.yaml` does not give it",
        "declare it, or do without",
    ),
    ExitCode.MACHINE: (
        "disk full, no permission, read-only; a stack that memory does not hold; no GPU where one is "
        "required; an image that cannot be built; on a cluster a job that ran out of memory, a node with "
        "other packages",
        "free space or memory, change permissions; as the message says",
    ),
    ExitCode.SERVICE: (
        "an object store or the Docker daemon does not answer or refuses; MLflow does not, and a network "
        "is needed from it, `CAPILLARY_TRACKING=required` asks for it, or `capillary sync` left something"
        " waiting",
        "start it, correct address or credentials",
    ),
    ExitCode.MEMORY: (
        "the process tree grew over `CAPILLARY_MEMORY_ABORT_GB`; the training was stopped with a checkpoint",
        "raise the limit, or a smaller `CAPILLARY_MICRO_BATCH`, fewer `CAPILLARY_WORKERS`; run again: training resumes",
    ),
    ExitCode.PREFLIGHT: (
        "a critical check failed: the run could not finish; nothing was started. Of `capillary doctor`: "
        "there is a fault",
        "do what the check says ([preflight.md](preflight.md), [doctor.md](doctor.md))",
    ),
    ExitCode.CELLS_FAILED: (
        "some trainings of an experiment, or some of many stacks of `capillary predict`, failed; the "
        "others are done. Of `capillary cache audit`: some results could not be recomputed",
        "look at the logs or at `predictions.csv`; repeat the command (predict: with `--resume`): only "
        "what is missing runs",
    ),
    ExitCode.DIFFERS: (
        "`capillary reproduce` trained the model again, and weights or metrics are not the same",
        "read what differs ([reproduce.md](reproduce.md#read-the-verdict))",
    ),
    ExitCode.RANK_LOST: (
        "on one of several nodes: a process of the training was lost. capillary starts all of them again;"
        " you only see it in logs",
        "nothing; if it comes again and again, the lines above it say why",
    ),
    ExitCode.INTERRUPTED: (
        "Ctrl-C",
        "run again: training resumes",
    ),
    ExitCode.TERMINATED: (
        "SIGTERM; on a cluster also a job that somebody cancelled, or a head that was ended while its job continues",
        "run again: training resumes, a job that runs is found again",
    ),
}
# by the code that their rows come after: what others end with
_OTHERS = {
    ExitCode.RANK_LOST: "| 137, 139 | killed | the stage was ended by SIGKILL (often: out of memory) or crashed in C "
    "code | free memory, run again |",
    ExitCode.TERMINATED: "| 255 | DVC's own | of `capillary experiment`: DVC failed, most often because *ingest*, "
    "*preprocess* or *evaluate* did | DVC's message names the stage's code (`exited with …`), the lines above it say "
    "what to do; then repeat |",
}


def exit_codes_page(page: str) -> str:
    """`page` with the table as the code has it."""
    above, _, _ = page.partition("| code |")
    return "\n".join([above + _HEAD[0], _HEAD[1], "| 0 | – | done | – |", *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for code in ExitCode:
        means, remedy = MEANINGS[code]
        yield f"| {code.value} | {_NAMES.get(code) or code.name.lower().replace('_', ' ')} | {means} | {remedy} |"
        if code in _OTHERS:
            yield _OTHERS[code]


if __name__ == "__main__":
    PAGE.write_text(exit_codes_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
