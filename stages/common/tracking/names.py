"""Names in the registry: networks are versions of capillary-<loss>, trainings of capillary-<experiment>.

Nothing is imported here, because the host names a training before any stage runs.
"""

START = "capillary-"
DEFAULT = f"{START}default"  # of trainings that no experiment file asked for; also the default of an order
CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"


def of_experiment(name: str) -> str:
    """The registered model that holds the trainings of the experiment `name`; DEFAULT for none."""
    return f"{START}{name}" if name else DEFAULT


def of_loss(loss: str) -> str:
    """The registered model that holds the networks of `loss`."""
    return f"{START}{loss}"
