"""What is known of one volume under one network: what tables, statistics and pictures are made from."""

from dataclasses import dataclass

from stages.evaluate.measure import Measurement
from stages.evaluate.views import Views


@dataclass(frozen=True, kw_only=True)
class Row:
    """One volume under one network, with small pictures of it.

    `seconds` is told and logged, but kept out of the tables: they are reproducible.
    """

    loss: str
    fold: int
    id: str
    group: str  # volumes of one group (two fields of one animal) are no independent ones
    measurement: Measurement
    views: Views
    weights_sha256: str
    seconds: float
