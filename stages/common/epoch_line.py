"""The line that a training prints after each epoch: for people to read, and for the experiment runner to parse."""

import re
from dataclasses import dataclass

_NONE = "–"
_LINE = re.compile(
    r"epoch (?P<epoch>\d+)/(?P<epochs>\d+)"
    r" loss (?P<loss>–|[-+.0-9a-z]+)"
    r" DSC (?P<validation_dsc>–|[.0-9]+)"
    r" ETA (?P<remaining_s>\d+) s"
    r" RSS (?P<rss_gb>[.0-9]+) GB"
    r"(?: \| (?P<notes>.*))?"
)


@dataclass(frozen=True, kw_only=True)
class EpochLine:
    """One finished epoch. `loss` is None if no step was taken, `validation_dsc` where there was no validation.

    `rss_gb` is the resident memory of the training's process tree. `notes` is for people alone.
    """

    epoch: int
    epochs: int
    loss: float | None
    validation_dsc: float | None
    remaining_s: float
    rss_gb: float
    notes: str = ""


def format_epoch(line: EpochLine) -> str:
    """`line` as text: `epoch 3/50 loss 0.4321 DSC – ETA 578 s RSS 1.23 GB | lr 1.9e-03, 12.3 s/epoch`."""
    dsc = _NONE if line.validation_dsc is None else f"{line.validation_dsc:.4f}"
    loss = _NONE if line.loss is None else f"{line.loss:.4g}"
    text = (
        f"epoch {line.epoch}/{line.epochs} loss {loss} DSC {dsc} ETA {line.remaining_s:.0f} s RSS {line.rss_gb:.2f} GB"
    )
    return f"{text} | {line.notes}" if line.notes else text


def parse_epoch(text: str) -> EpochLine | None:
    """The epoch that `text` describes, to the digits that are shown; None for any other line."""
    found = _LINE.fullmatch(text.strip())
    if found is None:
        return None
    return EpochLine(
        epoch=int(found["epoch"]),
        epochs=int(found["epochs"]),
        loss=_number(found["loss"]),
        validation_dsc=_number(found["validation_dsc"]),
        remaining_s=float(found["remaining_s"]),
        rss_gb=float(found["rss_gb"]),
        notes=found["notes"] or "",
    )


def _number(text: str) -> float | None:
    return None if text == _NONE else float(text)
