"""python -m stages.preprocess: data/raw + the splits file → data/processed."""

from pathlib import Path

from stages.common.params import load_params
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.preprocess.params import PreprocessParams
from stages.preprocess.preprocess import preprocess


def main() -> None:
    """Read what the launcher gave, preprocess."""
    preprocess(
        load_params(PreprocessParams).preprocess,
        workers=read_runtime().workers,
        raw=Path("data/raw"),
        processed=Path("data/processed"),
    )


if __name__ == "__main__":
    run_stage(main)
