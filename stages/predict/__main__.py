"""python -m stages.predict IMAGE MASK --card CARD…: one stack that nobody labelled → its mask."""

from stages.common.errors import run_main
from stages.common.params import load_params
from stages.common.runtime import read_runtime
from stages.predict.order import read_order
from stages.predict.params import PredictParams
from stages.predict.predict import predict


def main() -> None:
    """Read what the launcher gave, predict."""
    predict(read_order(), load_params(PredictParams).evaluation, read_runtime())


if __name__ == "__main__":
    run_main(main)
