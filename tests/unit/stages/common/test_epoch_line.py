"""The line after an epoch: what is written is read back, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.epoch_line import EpochLine, format_epoch, parse_epoch

COUNTS = st.integers(1, 10**6)
POSITIVE = st.floats(0, 1e9, allow_nan=False)


@given(
    epoch=COUNTS,
    epochs=COUNTS,
    loss=st.none() | st.floats(allow_nan=False, width=32),
    dsc=st.none() | st.floats(0, 1),
    remaining_s=POSITIVE,
    rss_gb=POSITIVE,
    notes=st.sampled_from(["", "lr 1.9e-03, 12.3 s/epoch", "a | b"]),
)
def test_an_epoch_comes_back_as_it_was_shown(
    epoch: int,
    epochs: int,
    loss: float | None,
    dsc: float | None,
    remaining_s: float,
    rss_gb: float,
    notes: str,
) -> None:
    """To the digits that are shown: showing again what was read gives the same line."""
    line = EpochLine(
        epoch=epoch,
        epochs=epochs,
        loss=loss,
        validation_dsc=dsc,
        remaining_s=remaining_s,
        rss_gb=rss_gb,
        notes=notes,
    )
    read = parse_epoch(format_epoch(line) + "\n")
    assert read is not None
    assert format_epoch(read) == format_epoch(line)
    assert (read.epoch, read.epochs, read.notes) == (epoch, epochs, notes)
    assert read.loss == (None if loss is None else pytest.approx(loss, rel=1e-3, abs=1e-30))
    assert read.validation_dsc == (None if dsc is None else pytest.approx(dsc, abs=1e-4))
    assert read.remaining_s == pytest.approx(remaining_s, abs=0.51)
    assert read.rss_gb == pytest.approx(rss_gb, abs=0.0051)


def test_the_line_is_pleasant() -> None:
    """One glance: which epoch of how many, loss, Dice or a dash, time left, memory."""
    line = EpochLine(
        epoch=3, epochs=50, loss=0.43214, validation_dsc=None, remaining_s=577.6, rss_gb=1.234, notes="lr 1.9e-03"
    )
    assert format_epoch(line) == "epoch 3/50 loss 0.4321 DSC – ETA 578 s RSS 1.23 GB | lr 1.9e-03"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch 3/50 loss",
        "precision bf16: asked for",
        "step skipped, weights unchanged: the loss is nan (epoch 1, step 2, volumes a)",
        "x epoch 3/50 loss 0.4 DSC – ETA 5 s RSS 1.2 GB",
    ],
)
def test_other_lines_are_none(text: str) -> None:
    """The runner reads all that a stage prints."""
    assert parse_epoch(text) is None
