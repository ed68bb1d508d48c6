"""The steps by their names in a request."""

from collections.abc import Callable, Mapping

from stages.common.requests.prediction.request import PredictRequest
from stages.common.runtime import Runtime
from stages.predict.blocks.joining import join_blocks
from stages.predict.blocks.predicting import predict_blocks
from stages.predict.blocks.surveying import survey_stack
from stages.predict.params import Evaluation

STEPS: Mapping[str, Callable[[PredictRequest, Evaluation, Runtime], None]] = {
    "survey": survey_stack,
    "predict": predict_blocks,
    "join": join_blocks,
}
