"""How the stage gets its stacks: one by one, or a whole folder where many of its files are named."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from capillary.planning.plan import Dep
from capillary.prediction.stack_path import locate

INPUT = "input"  # where the stage finds the stacks, whatever their folders are outside
# A container takes milliseconds per mount, and a kernel a bounded number of them. Below this a stage sees the named
# files alone.
MANY = 32


def mounted(images: Sequence[Path]) -> tuple[tuple[Dep, ...], tuple[Path, ...]]:
    """(deps, the place of each of `images` inside the stage). Links are followed here, because the stage cannot."""
    stacks = [locate(image) for image in images]
    real = [stack.host.resolve() for stack in stacks]
    # under another name, such as in DVC's cache, a file would lose its suffix
    together = Counter(
        place.parent
        for stack, place in zip(stacks, real, strict=True)
        if stack.is_plain and stack.host.name == place.name
    )
    numbers = {folder: str(number) for number, folder in enumerate(together) if together[folder] > MANY}
    deps = {f"{INPUT}/{number}": folder for folder, number in numbers.items()}
    places: list[Path] = []
    for number, (stack, place) in enumerate(zip(stacks, real, strict=True)):
        if stack.is_plain and place.parent in numbers and stack.host.name == place.name:
            places.append(Path(INPUT, numbers[place.parent], place.name))
            continue
        folder = f"{INPUT}/{number:05}" if len(images) > 1 else INPUT
        deps[f"{folder}/{stack.host.name or stack.inside}"] = place
        places.append(Path(folder, stack.inside))
    return tuple(Dep(name=name, host=host) for name, host in deps.items()), tuple(places)
