"""What `mlflow models serve` and `mlflow.pyfunc.load_model` run, for people who use a model with MLflow alone.

It travels with the model, as does the code that it imports, so it needs no checkout. capillary itself reads description
and weights only and never runs what a registry holds.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from stages.common.networks.description import read_description
from stages.common.networks.loading import load_network


class Segmenter(PythonModel):
    """Patches (B, 1, z, y, x), prepared as the description's `recipe` says, to vessel probabilities of that shape."""

    def load_context(self, context: Any) -> None:
        """Read the two files that came with the model."""
        description, weights = (Path(context.artifacts[name]) for name in ("description", "weights"))
        self._network = load_network(
            read_description(description.read_bytes(), description.name), weights.read_bytes(), weights.name
        )

    def predict(self, model_input):  # type: ignore[no-untyped-def, override]  # MLflow would take hints for a schema
        """Foreground probability, float32 in [0, 1], of the patches' shape."""
        patches = torch.from_numpy(np.ascontiguousarray(model_input, dtype=np.float32))
        with torch.inference_mode():
            return self._network(patches).softmax(dim=1)[:, 1:].numpy()


set_model(Segmenter())
