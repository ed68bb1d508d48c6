"""python -m stages.predict: stacks that nobody labelled → their masks, as its order says."""

from stages.common.params import load_params
from stages.common.requests.prediction.request import read_request
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.predict.params import PredictParams
from stages.predict.predict import predict


def main() -> None:
    """Read what the launcher gave, predict."""
    predict(read_request(), load_params(PredictParams).evaluation, read_runtime())


if __name__ == "__main__":
    run_stage(main)
