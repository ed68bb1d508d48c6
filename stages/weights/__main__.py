"""python -m stages.weights: models + former → kept. Neither folder of the project is written here."""

from pathlib import Path

from stages.common.errors import run_main
from stages.common.runtime import read_runtime
from stages.common.tracking.server import connect
from stages.weights.keep import FORMER, MADE, keep_all


def main() -> None:
    """Do it for every card."""
    keep_all(Path("models"), Path(MADE), connect(read_runtime()), former=Path(FORMER))


if __name__ == "__main__":
    run_main(main)
