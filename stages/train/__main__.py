"""python -m stages.train --loss NAME --fold K: data/processed → models/NAME/fold_K.json and its learning curve."""

import argparse
from pathlib import Path

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.common.runtime import read_runtime
from stages.common.tracking.registry import write_card
from stages.train.cell import plan_cell
from stages.train.launch import train
from stages.train.loop.history import write_history
from stages.train.params import TrainParams


def main() -> None:
    """Train one cell of the matrix."""
    parser = argparse.ArgumentParser(prog="python -m stages.train")
    parser.add_argument("--loss", required=True)
    parser.add_argument("--fold", required=True, type=int)
    arguments = parser.parse_args()

    params = load_params(TrainParams)
    cell = plan_cell(Path("data/processed"), params.training, arguments.loss, arguments.fold)
    card, history = train(cell, read_runtime())

    write_history(Path(f"metrics/training/{card.loss}/fold_{card.fold}.csv"), history)
    write_card(Path(f"models/{card.loss}/fold_{card.fold}.json"), card)


if __name__ == "__main__":
    run_main(main)
