"""python -m stages.train --loss NAME --fold K [--seed S]: data/processed → models/NAME/fold_K.json and its learning
curve; with another seed models/NAME/seed_S/fold_K.json.
"""

import argparse
from pathlib import Path

from stages.common.cell_name import CellName
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.common.tracking.cards.card import write_card
from stages.train.cell import plan_cell
from stages.train.launch import train
from stages.train.loop.history import write_history
from stages.train.params import load_training


def main() -> None:
    """Train one cell of the matrix."""
    parser = argparse.ArgumentParser(prog="python -m stages.train")
    parser.add_argument("--loss", required=True)
    parser.add_argument("--fold", required=True, type=int)
    parser.add_argument("--seed", type=int, help="a further seed of training.seeds, instead of training.seed")
    name = CellName(**vars(parser.parse_args()))

    cell = plan_cell(Path("data/processed"), load_training(name.seed), *name)
    trained = train(cell, read_runtime())
    if trained is None:  # another node leads, and writes the outs
        return
    card, history = trained
    write_history(Path(f"metrics/training/{name.place}.csv"), history)
    write_card(Path(f"models/{name.place}.json"), card)


if __name__ == "__main__":
    run_stage(main)
