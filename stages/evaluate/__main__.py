"""python -m stages.evaluate: data/processed + models → metrics/."""

from pathlib import Path

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.common.runtime import read_runtime
from stages.evaluate.evaluate import evaluate
from stages.evaluate.params import EvaluateParams


def main() -> None:
    """Read what the launcher gave, evaluate."""
    evaluate(
        load_params(EvaluateParams),
        read_runtime(),
        processed=Path("data/processed"),
        models=Path("models"),
        metrics=Path("metrics"),
    )


if __name__ == "__main__":
    run_main(main)
