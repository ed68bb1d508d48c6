"""params.yaml as a stage sees it: the keys that its entry in dvc.yaml declares, checked against its own model."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from stages.common.errors import PARAMS, StageError

Model = TypeVar("Model", bound=BaseModel)


def load_params(model: type[Model]) -> Model:
    """params.yaml as `model`; StageError for a wrong value. The launcher checks the same before any stage starts."""
    try:
        return model.model_validate(yaml.safe_load(Path("params.yaml").read_text()))
    except ValidationError as error:
        raise StageError(f"params.yaml: {error}", remedy="correct the key named above", code=PARAMS) from error
