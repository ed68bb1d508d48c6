"""Networks as predict and evaluate hold them."""

from dataclasses import replace

import torch

from stages.common.backends.network import PreparedNetwork
from stages.common.backends.settings import Backend, BackendSettings
from tests.support.tracking.cards import CARD

BY_TORCH = BackendSettings(asked="torch", threads=1)


def prepared(network: torch.nn.Module, precision: str = "fp32", asked: Backend = "torch") -> PreparedNetwork:
    """`network` with a card that says `precision`."""
    return PreparedNetwork(network, replace(CARD, precision=precision), BackendSettings(asked=asked, threads=1))
