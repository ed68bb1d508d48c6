"""A spacing unlike that of all other volumes."""

import pytest

from stages.common.imaging.zyx import Spacing
from stages.ingest.checks import ImageFacts, LabelFacts
from stages.ingest.doubts.odd_spacings import odd_spacings
from stages.ingest.verdicts import Stack, Verdict, VolumeFacts

USUAL: Spacing = (2.0, 0.5, 0.5)


def _verdict(name: str, spacing_um: Spacing) -> Verdict:
    label = LabelFacts(foreground_value=1, foreground_share=0.1, labelled_share=1, occurring=frozenset(), warnings=())
    stack = Stack(
        id=name,
        group=name,
        image="i",
        label="l",
        image_sha256="",
        label_sha256="",
        spacing_um=spacing_um,
        image_facts=ImageFacts(shape_zyx=(1, 1, 1), dtype="uint8"),
        label_facts=label,
    )
    return Verdict(id=name, stack=stack, facts=VolumeFacts(spacing_um=spacing_um), reasons=(), warnings=())


@pytest.mark.parametrize(
    ("odd", "how"),
    [
        ((20.0, 0.5, 0.5), "20 × 0.5 × 0.5 µm is 10 times larger along z than"),
        ((2.0, 0.5, 0.05), "2 × 0.5 × 0.05 µm is 10 times smaller along x than"),
        ((0.5, 0.5, 2.0), "0.5 × 0.5 × 2 µm has in another order the numbers of"),
    ],
)
def test_a_slip_in_one_volume_is_said(odd: Spacing, how: str) -> None:
    """Each for itself is possible; next to the others it is not likely."""
    verdicts = [_verdict("a", USUAL), _verdict("b", odd), _verdict("c", USUAL)]
    assert list(odd_spacings(verdicts)) == [f"b: its spacing {how} the set's median 2 × 0.5 × 0.5 µm"]


@pytest.mark.parametrize(
    "spacings",
    [
        [USUAL, (5.0, 0.5, 0.5), (2.0, 2.485, 2.485), (1.0, 0.2, 0.2)],  # several microscopes
        [USUAL, (20.0, 0.5, 0.5)],  # which of two?
        [USUAL, USUAL, USUAL],
        [(1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.01, 1.0, 1.0)],
        [],
    ],
)
def test_sets_of_several_microscopes_are_no_doubt(spacings: list[Spacing]) -> None:
    """They differ by less than a slip does."""
    assert not list(odd_spacings([_verdict(f"v{at}", spacing) for at, spacing in enumerate(spacings)]))
