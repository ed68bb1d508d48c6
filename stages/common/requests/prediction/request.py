"""What `capillary predict` is asked for: one value, made from the command line and read by the stage as JSON.

Nothing but pydantic is imported here, because the host makes the request and must start fast.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from stages.common.imaging.zyx import PartialSpacing, Shape, Spacing
from stages.common.params import Params
from stages.common.runtime import ORDER_FILE, read_asked

Number = Annotated[int, Field(ge=0)]


class StackRequest(Params):
    """One stack and the files to make from it; None: this file is not wanted.

    `spacing_um` is z, y, x, or None if the file's own counts, for all axes or for one. `channel` is the one of
    several that the networks were trained on, `level_um` (z, y, x) the spacing of the level of a pyramid that they were
    trained on. `made_as` is the key of the files that exist already
    and are whole (stages/predict/batch/keys.py), None if there are none.
    """

    image: Path
    mask: Path
    probability: Path | None = None
    picture: Path | None = None
    spacing_um: PartialSpacing | None = None
    channel: int | str | None = None
    level_um: Spacing | None = None
    made_as: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is to be written, the mask first."""
        return tuple(file for file in (self.mask, self.probability, self.picture) if file is not None)


class BlockWork(Params):
    """A step of predicting one stack by blocks (stages/predict/blocks): `survey` measures the stack and chooses the
    blocks, `predict` predicts those of `numbers`, `join` makes what needs the whole mask.

    `wanted_zyx` is the size of a block in voxels, None to have it chosen. `cleans`: small parts are to be removed.
    """

    step: Literal["survey", "predict", "join"]
    wanted_zyx: Shape | None = None
    numbers: tuple[Number, ...] = ()
    cleans: bool = False


class PredictRequest(Params):
    """Stacks to segment, with which models, and how.

    The models are those of `model`, a reference to the registry, or `cards`. The host chooses the cards by `loss`
    (None: the only one there is), `folds` and `seeds` (none: all of them). `threshold` and `min_component_um3` replace
    those of params.yaml.

    `folder` is None for one stack, whose failure ends the run. For several it is the folder of their files; a stack
    that fails is reported there and the others continue. The host hands the request on with the stage's own paths.
    `is_part`: the stacks are some of those that the user named, and the host counts what failed. `blocks` is the step
    of a stack that is predicted by blocks.
    """

    stacks: Annotated[tuple[StackRequest, ...], Field(min_length=1)]
    folder: Path | None = None
    model: str | None = None
    loss: str | None = None
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    cards: tuple[Path, ...] = ()
    threshold: Annotated[float, Field(ge=0, lt=1)] | None = None
    min_component_um3: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    force: bool = False
    resume: bool = False
    is_part: bool = False
    blocks: BlockWork | None = None


def read_request(file: Path = ORDER_FILE) -> PredictRequest:
    """The request in the stage's order. Raises ParamsError for one of another form, such as an unknown key."""
    return read_asked(TypeAdapter(PredictRequest), "capillary predict", file)
