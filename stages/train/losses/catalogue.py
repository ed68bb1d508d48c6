"""The losses by the name that params.yaml gives them. A new loss is one file here and one line in `LOSSES`."""

from stages.common.errors import ParamsError
from stages.common.params import nearest
from stages.train.losses.base import Loss
from stages.train.losses.cbdice import CbDiceLoss
from stages.train.losses.cbdice_cldice import CbDiceClDiceLoss
from stages.train.losses.cldice import ClDiceLoss
from stages.train.losses.dice_ce import DiceCELoss
from stages.train.losses.dice_ce_cldice import DiceCEClDiceLoss
from stages.train.losses.skeleton_recall import SkeletonRecallLoss
from stages.train.losses.warp import WarpLoss

LOSSES: dict[str, type[Loss]] = {
    "dice_ce": DiceCELoss,
    "cldice": ClDiceLoss,
    "dice_ce_cldice": DiceCEClDiceLoss,
    "cbdice": CbDiceLoss,
    "cbdice_cldice": CbDiceClDiceLoss,
    "skeleton_recall": SkeletonRecallLoss,
    "warp": WarpLoss,
}


def build_loss(name: str) -> Loss:
    """The loss called `name`; raises ParamsError naming the nearest right name."""
    if name not in LOSSES:
        raise ParamsError(
            f"there is no loss `{name}`; {nearest(name, list(LOSSES))}",
            remedy="correct the name in `training.losses`; docs/losses.md lists the losses",
            value=name,
        )
    return LOSSES[name]()
