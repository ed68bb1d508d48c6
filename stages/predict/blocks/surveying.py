"""The first step: what the blocks of a stack have to know of the whole of it."""

from pathlib import Path

from stages.common.errors import UsageError
from stages.common.imaging.intensities.normalise import measure_scale
from stages.common.imaging.recipe import Recipe
from stages.common.imaging.zyx import Shape
from stages.common.program.messages import get_logger
from stages.common.requests.prediction.grid import choose_block
from stages.common.requests.prediction.records import MOST_BLOCKS, SURVEY_FILE, BlockSurvey
from stages.common.requests.prediction.request import PredictRequest
from stages.common.runtime import Runtime
from stages.common.text import counted
from stages.common.tiling.resampling import target_grid
from stages.predict.batch.keys import method_key
from stages.predict.disk.scratch import Scratch
from stages.predict.disk.stored import StoredVolume
from stages.predict.domain import doubts_about
from stages.predict.files.writing import StackGeometry
from stages.predict.models.ensemble import refuse_unlike
from stages.predict.opening import find_asked
from stages.predict.params import Evaluation
from stages.predict.reporting import ALOUD
from stages.predict.steps import survey

log = get_logger(__name__)


def survey_stack(request: PredictRequest, evaluation: Evaluation, runtime: Runtime) -> None:
    """Measure the whole stack of `request` and choose its blocks; leaves SURVEY_FILE next to the mask.

    Raises CapillaryError for a stack that is damaged, not read in parts or to be resampled, and for too small blocks.
    """
    (stack,) = request.stacks
    assert request.blocks is not None
    cards = [network.card for network in find_asked(request, runtime)]
    refuse_unlike(cards)
    recipe = cards[0].recipe
    place = survey(stack, ALOUD, recipe)
    _refuse_resampling(place, recipe)
    block = choose_block(place.shape_zyx, cards[0].patch_voxels, request.blocks.wanted_zyx)
    out = stack.mask.with_name(SURVEY_FILE)
    with Scratch(out) as scratch, StoredVolume(stack.image, stack.channel, scratch, stack.level_um) as volume:
        scale = measure_scale(volume, recipe)
        domains = [card.domain for card in cards if card.domain is not None]
        for doubt in doubts_about(volume, scale, place.spacing_um, domains, recipe.normalisation):
            ALOUD.warn(doubt)
    found = BlockSurvey(
        shape_zyx=place.shape_zyx,
        spacing_um=place.spacing_um,
        start_um=place.start_um,
        block_zyx=block,
        offset=scale.offset,
        divisor=scale.divisor,
        clip=scale.clip,
        method=method_key(cards, evaluation),
    )
    _refuse_many(found.grid.count, block)
    _leave(found, out)


def _leave(found: BlockSurvey, file: Path) -> None:
    sizes = " × ".join(map(str, found.block_zyx))
    log.info(f"the stack is predicted in {counted(found.grid.count, 'block')} of at most {sizes} voxels")
    file.write_text(found.model_dump_json(), encoding="utf-8")


def _refuse_resampling(place: StackGeometry, recipe: Recipe) -> None:
    grid: Shape = target_grid(place.shape_zyx, place.spacing_um, recipe)
    if grid == place.shape_zyx:
        return
    z, y, x = recipe.resample_to_um or place.spacing_um
    raise UsageError(
        "this stack cannot be predicted by blocks: its networks were trained on voxels of another size",
        file=place.source.name,
        value=f"{z:g} × {y:g} × {x:g} µm, the stack has {' × '.join(f'{size:g}' for size in place.spacing_um)} µm",
        remedy="leave --blocks out, or resample the stack to the size of the networks first",
    )


def _refuse_many(count: int, block_zyx: Shape) -> None:
    if count > MOST_BLOCKS:
        raise UsageError(
            f"the stack would be cut into {count:,} blocks, more than {MOST_BLOCKS:,}",
            value=" × ".join(map(str, block_zyx)),
            remedy="choose larger ones, or leave the size to capillary: --blocks auto",
        )
