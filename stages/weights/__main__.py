"""python -m stages.weights: models + former → kept. Neither folder of the project is written here."""

from pathlib import Path

from stages.common.registered.finding import places_of
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.weights.keep import FORMER, MADE, keep_all


def main() -> None:
    """Do it for every card."""
    keep_all(Path("models"), Path(MADE), places_of(read_runtime()), former=Path(FORMER))


if __name__ == "__main__":
    run_stage(main)
