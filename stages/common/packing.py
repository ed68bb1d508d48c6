"""A network as the files that the registry keeps of it (tracking/model_files.py)."""

import torch

from stages.common.errors import CapillaryError, ExitCode
from stages.common.networks.description import DESCRIPTION, WEIGHTS, ModelDescription, description_bytes
from stages.common.networks.loading import load_network
from stages.common.networks.weights import weights_bytes, weights_sha256
from stages.common.tracking.model_files import Package


def pack(network: torch.nn.Module, description: ModelDescription) -> Package:
    """`network` as files. Raises CapillaryError unless it comes back from them bit for bit."""
    contents = {DESCRIPTION: description_bytes(description), WEIGHTS: weights_bytes(network)}
    expected = weights_sha256(network)
    found = weights_sha256(load_network(description, contents[WEIGHTS], "the network to be registered"))
    if found != expected:
        raise CapillaryError(
            "a network cannot be rebuilt from its description and weights",
            remedy="report it with the architecture's name; nothing was registered",
            code=ExitCode.UNEXPECTED,
            value=f"{found} instead of {expected}",
        )
    return Package(contents=contents, description=description, weights_sha256=expected)
