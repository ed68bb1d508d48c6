"""The palette can be read: contrast by WCAG 2.2, in light, dark and print."""

import itertools
import re

import pytest

from stages.report.drawing.svg import COLOURS, INK
from stages.report.pages.html import PAGE

CSS = (PAGE / "report.css").read_text(encoding="utf-8")
# one block of variables a scheme, in this order
BLOCKS = re.findall(r":root \{(.*?)\}", CSS, flags=re.DOTALL)
SCHEMES = {
    name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
    for name, block in zip(("light", "dark", "print"), BLOCKS, strict=True)
}


def rgb(colour: str) -> tuple[float, ...]:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    return tuple(int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4))


def linear(colour: str) -> tuple[float, ...]:
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb(colour))


def contrast(one: str, other: str) -> float:
    weights = (0.2126, 0.7152, 0.0722)
    both = [sum(weight * part for weight, part in zip(weights, linear(colour), strict=True)) for colour in (one, other)]
    return (max(both) + 0.05) / (min(both) + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_can_be_read(scheme: str) -> None:
    """Text has 4.5 to 1 on everything that it is on."""
    colours = SCHEMES[scheme]
    for ink, ground in itertools.product(("ink", "soft", "accent"), ("page", "card")):
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["warn-ink"], colours["warn"]) >= 4.5
    assert contrast(colours["ink"], colours["faint"]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_and_marks_can_be_seen(scheme: str) -> None:
    """Graphics have 3 to 1 on the card; there is a colour for each number that charts use."""
    assert SCHEMES[scheme].keys() >= INK.keys()
    for number in range(COLOURS):
        assert contrast(SCHEMES[scheme][f"c{number}"], SCHEMES[scheme]["card"]) >= 3, number


# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))


@pytest.mark.parametrize("matrix", [PROTANOPIA, DEUTERANOPIA], ids=["protanopia", "deuteranopia"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_four_losses_differ_with_every_colour_vision(
    scheme: str, matrix: tuple[tuple[float, ...], ...]
) -> None:
    """Simulated, no two of the colours that are used first fall together (they differ in shape as well)."""
    seen = []
    for number in range(4):
        colour = linear(SCHEMES[scheme][f"c{number}"])
        seen.append([sum(weight * part for weight, part in zip(row, colour, strict=True)) for row in matrix])
    for one, other in itertools.combinations(seen, 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.04
