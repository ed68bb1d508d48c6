"""What became of each stack of a batch: lines of JSON that the stage appends and the host reads while it runs."""

from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import Field

from stages.common.errors import CapillaryError, ExitCode
from stages.common.imaging.zyx import Spacing
from stages.common.params import Params
from stages.common.text import percent

RESULTS_FILE = "results.jsonl"  # in the folder of the request

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class StackResult(Params):
    """One stack, by its `number` in the request.

    `done`: its files are whole. `unchanged`: they were already. `failed`: the last of `words` is the reason. `key` says
    from what the files were made (stages/predict/batch/keys.py).
    """

    number: Count
    status: Literal["done", "unchanged", "failed"]
    key: str = ""
    shape_zyx: tuple[Count, Count, Count] | None = None
    spacing_um: Spacing | None = None
    vessel_share: Annotated[float, Field(ge=0, le=1)] | None = None
    read_s: Seconds = 0.0
    compute_s: Seconds = 0.0
    write_s: Seconds = 0.0
    words: tuple[str, ...] = ()


def vessel_words(vessel: int, voxels: int) -> str:
    """How much of a stack is vessel, in words."""
    return f"{vessel:,} of {voxels:,} voxels are vessel ({percent(vessel / voxels)})"


def stacks_failed(failed: int, total: int) -> CapillaryError:
    """The error at the end of a run in which `failed` of `total` stacks failed."""
    return CapillaryError(
        f"{failed} of {total} stacks failed, the others are done",
        remedy="correct or remove those that predictions.csv names, then repeat the command with --resume",
        code=ExitCode.STACKS_FAILED,
    )


class Results:
    """The stage's end: appends a line per stack. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._stream: IO[bytes] = (folder / RESULTS_FILE).open("ab")

    def append(self, result: StackResult) -> None:
        """Write one line whole. Its files are complete."""
        self._stream.write(result.model_dump_json().encode() + b"\n")
        self._stream.flush()

    def __enter__(self) -> "Results":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
