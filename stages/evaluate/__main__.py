"""python -m stages.evaluate [--without LOSS FOLD SEED]…: data/processed + models → metrics/, or metrics/partial/."""

import argparse
from pathlib import Path

from stages.common.cell_name import cell_from
from stages.common.params import load_params
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.evaluate.evaluate import evaluate
from stages.evaluate.params import EvaluateParams


def main() -> None:
    """Read what the launcher gave, evaluate. Results without some cells never get the place of whole ones."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate")
    parser.add_argument("--without", nargs=3, action="append", default=[], metavar=("LOSS", "FOLD", "SEED"))
    without = parser.parse_args().without
    evaluate(
        load_params(EvaluateParams),
        read_runtime(),
        processed=Path("data/processed"),
        models=Path("models"),
        metrics=Path("metrics/partial") if without else Path("metrics"),
        left_out=[cell_from(words) for words in without],
    )


if __name__ == "__main__":
    run_stage(main)
