import pytest
import torch

from stages.common.errors import ExitCode, ParamsError
from stages.train.losses import LOSSES, Loss, build_loss


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_listed_loss_is_built_by_its_name(name: str) -> None:
    """A name of the catalogue gives a loss that says whether it reads the skeleton."""
    loss = build_loss(name)
    assert isinstance(loss, Loss)
    assert isinstance(loss.needs_skeleton, bool)


def test_an_unknown_name_is_refused_with_the_nearest_right_one() -> None:
    """A typing mistake in training.losses ends with the right name, not with a KeyError."""
    with pytest.raises(ParamsError, match="did you mean `cbdice`") as caught:
        build_loss("cbdise")
    assert caught.value.code == ExitCode.PARAMS
    assert "training.losses" in caught.value.remedy


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_wrong_shape_is_refused_instead_of_broadcast(name: str) -> None:
    """A label without its channel axis would broadcast to a wrong but finite loss."""
    label = torch.zeros(2, 1, 4, 6, 6)
    loss = build_loss(name)
    for wrong in (label[:, 0], label[:1], torch.zeros(2, 2, 4, 6, 6)):
        with pytest.raises(ValueError, match="takes logits"):
            loss(torch.zeros(2, 2, 4, 6, 6), wrong, label)
    with pytest.raises(ValueError, match="takes logits"):
        loss(torch.zeros(2, 1, 4, 6, 6), label, label)
