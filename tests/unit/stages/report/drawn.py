"""What tests look for in a chart's SVG."""

import re
from xml.etree import ElementTree

from stages.report.drawing.svg import INK

NUMBER = r"-?[\d.]+"


def parse(svg: str) -> ElementTree.Element:
    """The picture as XML; fails when it is not well-formed."""
    return ElementTree.fromstring(svg)


def of_kind(chart: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """The groups of a class, in the order in which they are drawn."""
    return [group for group in chart.iter("g") if group.attrib.get("class", "").split(" ")[0] == kind]


def texts(chart: ElementTree.Element, kind: str) -> list[str]:
    """The texts of a class."""
    return [text.text or "" for group in of_kind(chart, kind) for text in group.iter("text")]


def ticks(chart: ElementTree.Element) -> list[tuple[str, float, float]]:
    """Text and place of each number at an axis; those of x come first."""
    groups = (group for kind in ("name", "value", "axis") for group in of_kind(chart, kind))
    named = {id(text) for group in groups for text in group.iter("text")}
    found = [text for text in chart.iter("text") if id(text) not in named]
    return [(text.text or "", float(text.attrib["x"]), float(text.attrib["y"])) for text in found]


def labels(chart: ElementTree.Element) -> list[str]:
    """What marks and lines say when a pointer rests on them."""
    return [title.text or "" for title in chart.iter("title")]


def lines(chart: ElementTree.Element) -> list[list[list[tuple[float, float]]]]:
    """Each line: the points of each of its pieces."""
    paths = [path for group in of_kind(chart, "line") for path in group.findall("path")]
    return [[_points(piece) for piece in re.findall(r"M[^M]*", path.attrib["d"])] for path in paths]


def _points(piece: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(rf"({NUMBER}) ({NUMBER})", piece)]


def marks(chart: ElementTree.Element) -> list[tuple[float, float]]:
    """Where each mark is."""
    uses = (use for group in of_kind(chart, "mark") for use in group.iter("use"))
    return [(float(use.attrib["x"]), float(use.attrib["y"])) for use in uses]


def colours(chart: ElementTree.Element) -> dict[str, str]:
    """Label → class without its kind, of marks and lines."""
    groups = [*of_kind(chart, "line"), *of_kind(chart, "mark")]
    return {label: group.attrib["class"].partition(" ")[2] for group in groups for label in labels(group)}


def inks(svg: str) -> set[str]:
    """The variables that colour it; fails where it has a colour of its own."""
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href|id)="[^"]*"', "", svg))
    found = set(re.findall(r"var\(--([\w-]+)\)", svg))
    assert found <= INK.keys()
    return found
