"""What the files of a stack were made from, as one hash: equal keys mean that nothing is to be computed again."""

from collections.abc import Sequence
from dataclasses import asdict

from stages.common.imaging.recipe import READING
from stages.common.imaging.suffixes import suffix_of
from stages.common.tracking.registry import ModelCard
from stages.predict.batch.content import content_sha256, hash_of
from stages.predict.params import Evaluation
from stages.predict.request import StackRequest


def method_key(cards: Sequence[ModelCard], evaluation: Evaluation) -> str:
    """Hash of the networks, how they see an image, and the params that make a mask."""
    networks = [[card.weights_sha256, list(card.patch_voxels), card.precision, asdict(card.recipe)] for card in cards]
    return hash_of([networks, evaluation.model_dump(mode="json"), READING])


def stack_key(stack: StackRequest, method: str) -> str:
    """Hash of the bytes of the stack, what the request says about it, and `method`."""
    wanted = [suffix_of(stack.mask.name), stack.probability is not None, stack.picture is not None]
    return hash_of([content_sha256(stack.image), stack.spacing_um, stack.channel, wanted, method])
