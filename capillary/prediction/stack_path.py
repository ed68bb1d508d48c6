"""Where the stack that is to be segmented is on this machine, whatever form it has, and how a stage names it."""

from dataclasses import dataclass
from pathlib import Path

from stages.common.imaging.suffixes import DETACHED_SUFFIXES, is_pattern, split_inside, suffix_of


@dataclass(frozen=True, kw_only=True)
class StackPath:
    """`host` is the file or folder that a stage needs to see, `inside` the stack's path from the folder of that one."""

    host: Path
    inside: str

    @property
    def is_plain(self) -> bool:
        """Whether the stack is `host` itself."""
        return self.inside == self.host.name


def locate(image: Path) -> StackPath:
    """A file, a folder, an array in an HDF5 file (a.h5:/place), or a pattern of slices (folder/z*.tif)."""
    file, place = split_inside(str(image))
    if place:
        return StackPath(host=Path(file), inside=f"{Path(file).name}:/{place}")
    is_several = (is_pattern(image.name) and not image.exists()) or suffix_of(image.name) in DETACHED_SUFFIXES
    if is_several:
        folder = image.absolute().parent
        return StackPath(host=folder, inside=f"{folder.name}/{image.name}")
    return StackPath(host=image, inside=image.name or image.resolve().name)
