"""What the files of a stack were made from, as one hash: equal keys mean that nothing is to be computed again."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stages.common.imaging.foreign.links import detached_file
from stages.common.imaging.foreign.meta_image import meta_data_file
from stages.common.imaging.foreign.nrrd_file import nrrd_data_file
from stages.common.imaging.foreign.slices import choose_names
from stages.common.imaging.recipe import READING
from stages.common.imaging.stacks import refusing_damage
from stages.common.imaging.suffixes import is_pattern, split_inside, suffix_of
from stages.common.requests.prediction.content import content_sha256, hash_of
from stages.common.requests.prediction.request import StackRequest
from stages.common.tracking.cards.card import ModelCard
from stages.predict.params import Evaluation

_DETACHED = {".nhdr": nrrd_data_file, ".mhd": meta_data_file}


def method_key(cards: Sequence[ModelCard], evaluation: Evaluation) -> str:
    """Hash of the networks, how they see an image, and the params that make a mask."""
    networks = [[card.weights_sha256, list(card.patch_voxels), card.precision, asdict(card.recipe)] for card in cards]
    return hash_of([networks, evaluation.model_dump(mode="json"), READING])


def stack_key(stack: StackRequest, method: str) -> str:
    """Hash of the bytes of the stack, what the request says about it, and `method`.

    Raises DataError for a stack that is missing, or whose header names no file that may be read.
    """
    wanted = [suffix_of(stack.mask.name), stack.probability is not None, stack.picture is not None]
    level = [] if stack.level_um is None else [stack.level_um]  # keys of earlier versions stay
    return hash_of([_content_of(stack.image), stack.spacing_um, stack.channel, wanted, method, *level])


def _content_of(image: Path) -> object:
    """What tells the bytes of `image` from others, whatever form it has: those of all files that hold its voxels."""
    name, place = split_inside(str(image))
    file = Path(name)
    with refusing_damage(file):
        if place:
            return [content_sha256(file), place]
        if is_pattern(file.name) and not file.exists():
            names = choose_names(sorted(entry.name for entry in file.parent.iterdir()), file.name, file)
            return [[each, content_sha256(file.parent / each)] for each in names]
        find = _DETACHED.get(suffix_of(file.name) or "")
        voxels = None if find is None else find(file)
        if voxels is not None:
            return [content_sha256(file), content_sha256(detached_file(file, voxels))]
        return content_sha256(file)
