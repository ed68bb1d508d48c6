"""python -m stages.preprocess: data/valid.csv → data/train.csv and data/test.csv."""

import pandas as pd

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.preprocess.params import PreprocessParams


def main() -> None:
    """Draw the test flowers from each species alike; the others are for training."""
    params = load_params(PreprocessParams).preprocess
    flowers = pd.read_csv("data/valid.csv")
    test = flowers.groupby("species").sample(frac=params.test_share, random_state=params.seed)
    train = flowers.drop(test.index)
    test.to_csv("data/test.csv", index=False)
    train.to_csv("data/train.csv", index=False)
    print(f"{len(train)} flowers for training, {len(test)} for the test")


if __name__ == "__main__":
    run_main(main)
