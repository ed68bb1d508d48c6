"""How the stage gets its stacks: one by one, or a whole folder where many of its files are named."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from capillary.launcher.plan import Dep

INPUT = "input"  # where the stage finds the stacks, whatever their folders are outside
# A container takes milliseconds per mount, and a kernel a bounded number of them. Below this a stage sees the named
# files alone.
MANY = 32


def mounted(images: Sequence[Path]) -> tuple[tuple[Dep, ...], tuple[Path, ...]]:
    """(deps, the place of each of `images` inside the stage). Links are followed here, because the stage cannot."""
    real = [image.resolve() for image in images]
    # under another name, such as in DVC's cache, a file would lose its suffix
    together = Counter(place.parent for image, place in zip(images, real, strict=True) if image.name == place.name)
    numbers = {folder: str(number) for number, folder in enumerate(together) if together[folder] > MANY}
    deps = {f"{INPUT}/{number}": folder for folder, number in numbers.items()}
    places: list[Path] = []
    for number, (image, place) in enumerate(zip(images, real, strict=True)):
        if place.parent in numbers and image.name == place.name:
            places.append(Path(INPUT, numbers[place.parent], place.name))
            continue
        name = f"{INPUT}/{number:05}/{image.name}" if len(images) > 1 else f"{INPUT}/{image.name}"
        deps[name] = place
        places.append(Path(name))
    return tuple(Dep(name=name, host=host) for name, host in deps.items()), tuple(places)
