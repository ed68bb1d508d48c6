"""What the OME-XML in a TIFF says about its images: sizes, spacing, and planes that are in other files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, fromstring

from stages.common.errors import DataError
from stages.common.imaging.formats.header import SpacingEvidence, number

_SHOWN_FILES = 3


class ElsewhereError(DataError):
    """A file of a set, whose stack has planes or metadata in other files."""


@dataclass(frozen=True, kw_only=True)
class OmeImage:
    """One Image. `sizes` has the letters X, Y, Z, C and T; `steps` the number and unit of PhysicalSizeX, Y and Z.

    `samples` are the channels that one plane holds, 3 for RGB. `channels` are the names of the channels, "" without.
    """

    sizes: dict[str, int]
    samples: int
    steps: dict[str, tuple[str, str]]
    channels: tuple[str, ...] = ()

    @property
    def planes(self) -> int:
        """How many planes it has, one per z, channel (or group of samples) and time point."""
        return self.sizes["Z"] * self.sizes["C"] * self.sizes["T"] // self.samples


def read_images(xml: str) -> list[OmeImage]:
    """The images that `xml` describes, in its order. Raises ValueError when it is damaged."""
    return [
        OmeImage(
            sizes={axis: int(pixels.get(f"Size{axis}", "1")) for axis in "XYZCT"},
            samples=max(int(next(elements(pixels, "Channel"), pixels).get("SamplesPerPixel", "1")), 1),
            steps={
                axis: (pixels.get(f"PhysicalSize{axis}", ""), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
                for axis in "XYZ"
            },
            channels=tuple(channel.get("Name", "") for channel in elements(pixels, "Channel")),
        )
        for pixels in elements(parse_xml(xml), "Pixels")
    ]


def claimed_planes(xml: str) -> int:
    """How many planes the Images in `xml` speak of, or its references to planes, whichever are more."""
    counts = [data.get("PlaneCount", data.get("NumPlanes", "0")) for data in elements(parse_xml(xml), "TiffData")]
    return max(sum(image.planes for image in read_images(xml)), sum(map(int, counts)))


def spacing_evidence(image: OmeImage | None) -> SpacingEvidence:
    """PhysicalSizeZ, Y and X of `image`; None stands for a stack that no Image describes."""
    if image is None:
        return SpacingEvidence(numbers_zyx=None, missing="its OME metadata describe no image of this size")
    numbers = {axis: number(image.steps[axis][0]) for axis in "ZYX"}
    absent = [f"PhysicalSize{axis}" for axis in "ZYX" if numbers[axis] is None]
    z, y, x = (numbers[axis] or 0.0 for axis in "ZYX")
    z_unit, y_unit, x_unit = (image.steps[axis][1] for axis in "ZYX")
    return SpacingEvidence(
        numbers_zyx=None if absent else (z, y, x),
        units_zyx=(z_unit, y_unit, x_unit),
        source="OME PhysicalSize",
        missing=f"its OME metadata give no spacing: {', '.join(absent)} missing",
    )


def image_of(images: Sequence[OmeImage], index: int, plane_yx: tuple[int, int], planes: int) -> OmeImage | None:
    """The Image behind a series: the one at its index if the sizes agree, else the first whose sizes do."""
    ordered = [*images[index : index + 1], *images]
    fitting = (image for image in ordered if (image.sizes["Y"], image.sizes["X"]) == plane_yx)
    return next((image for image in fitting if image.planes == planes), None)


def refuse_planes_elsewhere(xml: str, path: Path) -> None:
    """Raise DataError when planes of the images in `xml` are in other files than `path`."""
    root = parse_xml(xml)
    companion = next(elements(root, "BinaryOnly"), None)
    if companion is not None:
        raise _elsewhere(path, "its metadata and further planes are", [companion.get("MetadataFile", "?")])
    own = root.get("UUID")
    files = {uuid.text: uuid.get("FileName", "?") for uuid in elements(root, "UUID")}
    if own is None and len(files) == 1:
        return  # it can only mean this file, whatever that is called now
    others = [name for uuid, name in files.items() if uuid != own and name.lower() != path.name.lower()]
    if others:
        raise _elsewhere(path, "some of its planes are", others)


def _elsewhere(path: Path, what: str, names: list[str]) -> "ElsewhereError":
    shown = ", ".join(name[:80] for name in names[:_SHOWN_FILES])
    more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    return ElsewhereError(
        f"it is one file of a multi-file OME-TIFF; {what} in {shown}{more}",
        remedy="save the whole set as one file (open it in Fiji with Bio-Formats, save as OME-TIFF)",
        file=path,
    )


def parse_xml(xml: str) -> Element:
    """The root of `xml`. Raises ValueError when it is damaged."""
    try:
        return fromstring(xml)  # noqa: S314 - tifffile has parsed the same text before; expat limits entities
    except ParseError as error:
        raise ValueError(f"its OME metadata are damaged: {error}") from error


def elements(root: Element, name: str) -> Iterator[Element]:
    """The elements called `name`, in whatever version of OME's namespace."""
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)
