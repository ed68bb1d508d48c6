"""configs/tracking.yaml: whether the team keeps networks in DVC's remote, too."""

from pathlib import Path

from capillary.yaml_file import read_yaml
from stages.common.params import Params, validate_params

FILE = "configs/tracking.yaml"


class Tracking(Params):
    """`weights_in_remote`: the networks of the cards are kept by DVC in weights/."""

    weights_in_remote: bool


class TrackingFile(Params):
    """The file as a whole."""

    tracking: Tracking


def weights_in_remote(root: Path) -> bool:
    """What the team chose; no where the project has no such file. ParamsError for an unknown key or another value."""
    if not (root / FILE).is_file():
        return False
    return validate_params(TrackingFile, read_yaml(root / FILE), FILE).tracking.weights_in_remote
