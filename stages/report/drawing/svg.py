"""A matplotlib figure as inline SVG that follows the page: its light or dark, its font, its width.

matplotlib knows colours, not CSS variables: each variable of report.css that charts use has a colour that stands for it
until the figure is written. The tooltip of an artist is kept in its group's id.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from stages.common.text import visible

COLOURS = 6  # of losses; report.css has a variable for each
_NAMES = ("ink", "soft", "card", "faint", *(f"c{number}" for number in range(COLOURS)))
INK = {name: f"#fe{number:02x}ef" for number, name in enumerate(_NAMES)}
_POINTS_AN_INCH = 72
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}"
_SEPARATOR = "|"
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a loss may have a dollar in its name
    "font.family": "DejaVu Sans",  # comes with matplotlib; it decides no more than how high a line is
    "font.size": 12,
    "text.color": INK["soft"],
    "axes.edgecolor": INK["soft"],
    "xtick.color": INK["soft"],
    "ytick.color": INK["soft"],
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def canvas(width: float, height: float) -> Canvas:
    """An empty figure of that many pixels, which the page may scale."""
    figure = Canvas(figsize=(width / _POINTS_AN_INCH, height / _POINTS_AN_INCH), dpi=_POINTS_AN_INCH)
    figure.patch.set_visible(False)
    return figure


def told(artist: Artist, kind: str, *labels: str) -> None:
    """Give `artist` a class for report.css, and a tooltip, or one for each of its markers."""
    hidden = (visible(label).replace(_SEPARATOR, "¦") for label in labels)
    artist.set_gid(_SEPARATOR.join([kind, *hidden]))


def style() -> AbstractContextManager[None]:
    """Make and write figures in this context."""
    return mpl.rc_context(_STYLE)


def to_svg(figure: Canvas, kind: str, alt: str) -> str:
    """The figure in a class `kind`; `alt` says what it shows, nothing for one that needs no words."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": alt}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the page's font has it
        FigureCanvasSVG(figure).print_svg(buffer, metadata=_NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it just now
    for each in root.iter():
        each.tag = each.tag.removeprefix(_SVG)
        each.attrib = {name.removeprefix(_LINK): value for name, value in each.attrib.items()}
        each.text, each.tail = (each.text or "").strip("\n "), ""
    _clean(root)
    names = {"role": "img", "aria-label": visible(alt)} if alt else {"aria-hidden": "true"}
    root.attrib = {"class": kind, "viewBox": root.attrib["viewBox"], **names}
    text = ElementTree.tostring(root, encoding="unicode")
    for name, colour in INK.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _clean(parent: ElementTree.Element) -> None:
    """Remove from `parent` what the page has already, and put tooltips where a browser looks for them."""
    for child in list(parent):
        _clean(child)
        if child.tag == "g":
            _name(child)
        elif child.tag == "text":
            child.attrib["style"] = "; ".join(_without_font(child.attrib["style"]))
        if child.tag in ("style", "metadata") or (child.tag in ("g", "defs") and not len(child)):
            parent.remove(child)


def _without_font(style: str) -> Iterator[str]:
    """The parts of a text's `style`, without the font, which is the page's."""
    return (part for part in style.split("; ") if not part.startswith(("font-family", "font-weight")))


def _name(group: ElementTree.Element) -> None:
    kind, *labels = group.attrib.pop("id", "").split(_SEPARATOR)
    if not labels:
        return
    if kind:
        group.attrib["class"] = kind
    marks = list(group.iter("use"))
    for place, label in zip(marks if len(marks) == len(labels) else [group], labels, strict=False):
        if label:
            title = ElementTree.Element("title")
            title.text = label
            place.insert(0, title)
