"""What tells one part of a prediction from another, so that the job of an interrupted command is found again."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from capillary.places.stamps import stamp_of
from capillary.planning.plan import CODE_FOLDER
from capillary.prediction.mounts import mounted
from capillary.prediction.plan import STAGE, cards_of, choices_of, visible_params
from stages.common.requests.prediction.content import hash_of
from stages.common.requests.prediction.request import PredictRequest

# what a repeated command may have otherwise
_PASSING = {"force": False, "resume": False}


def shared_traces(request: PredictRequest, root: Path) -> dict[str, str]:
    """What all parts of `request` have in common: code, model cards and params."""
    cards = cards_of(request, root)
    places = [f"{CODE_FOLDER}/common", f"{CODE_FOLDER}/{STAGE}", *cards]
    return {
        "params": hash_of([visible_params(request, root, cards), choices_of(root)]),
        **{name: stamp_of(root / name).digest for name in places},
    }


def traces_of(part: PredictRequest, shared: Mapping[str, str]) -> dict[str, str]:
    """Hashes of what `part` asks for and of its stacks (by names, sizes and times), and `shared`."""
    deps, _ = mounted([stack.image for stack in part.stacks])
    stacks = tuple(stack.model_copy(update={"made_as": None}) for stack in part.stacks)
    asked = part.model_copy(update={**_PASSING, "stacks": stacks})
    files = [[str(file.absolute()) for file in (stack.image, *stack.files)] for stack in stacks]
    return {
        **shared,
        "request": hash_of([asked.model_dump(mode="json"), files]),
        **{dep.name: hash_of(list(_seen(dep.host))) for dep in deps if dep.host is not None},
    }


def _seen(place: Path) -> Iterator[tuple[str, int, int]]:
    """(name, bytes, time of the last change) of each file in `place`, in order."""
    if not place.is_dir():
        yield _of(place, place.name)
        return
    for parent, folders, files in os.walk(place):
        folders.sort()
        for name in sorted(files):
            yield _of(Path(parent, name), str(Path(parent, name).relative_to(place)))


def _of(file: Path, name: str) -> tuple[str, int, int]:
    found = file.stat()
    return name, found.st_size, found.st_mtime_ns
