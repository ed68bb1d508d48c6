"""The one network that is exported, by a reference to the registry or by its card."""

from pathlib import Path

from stages.common.errors import ServiceError, UsageError
from stages.common.registered.finding import FoundNetwork, Places, find_network
from stages.common.registered.referred import find_by_reference
from stages.common.tracking.cards.card import read_card


def network_of(reference: str | None, file: Path | None, places: Places) -> FoundNetwork:
    """The network of the card in `file`, or that of the version that `reference` means.

    Raises CapillaryError (usage) for a reference to several networks: a package holds one.
    """
    if file is not None:
        return find_network(read_card(file), places)
    if places.server is None:
        raise ServiceError(
            "this model is in a registry, and CAPILLARY_TRACKING=offline contacts no server",
            remedy="set CAPILLARY_TRACKING=auto, or name a card in models/",
            value=reference,
        )
    found = find_by_reference(reference or "", places.server)
    if len(found) > 1:
        raise UsageError(
            f"{reference} means {len(found)} networks, but a package holds one",
            value=", ".join(f"{network.name}/{network.version}" for network in found),
            remedy="name one of them",
        )
    return found[0]
