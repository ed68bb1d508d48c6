"""Which channel of a file with several is the stack."""

from collections.abc import Sequence
from pathlib import Path

from stages.common.errors import DataError
from stages.common.imaging.formats.damage import GREY_STACK, not_a_stack

Channel = int | str | None  # a number from 0, a name, or None if a stack must have one channel
SETTING = "ingest.channel"
_SHOWN = 8
_IN_FIJI = "exchange slices and frames in Fiji (Image > Properties)"


class SeveralChannelsError(DataError):
    """A file holds `found`, such as "2 channels (0, 1)", and none of them is chosen."""

    def __init__(self, found: str, path: Path) -> None:
        super().__init__(f"it holds {found}; choose one of them with {SETTING}", remedy=GREY_STACK, file=path)
        self.found = found

    @property
    def of_label(self) -> str:
        """What is wrong if the file is a label, for which nothing can be chosen."""
        return f"it holds {self.found}, a label has one ({SETTING} is for images); save one channel alone"


def channel_number(names: Sequence[str], channel: Channel, path: Path) -> int:
    """The place of `channel` among those called `names` ("" for one without a name).

    Raises DataError with the list of them where it is not among them, and where there are several and none is chosen.
    """
    if channel is None:
        if len(names) > 1:
            raise SeveralChannelsError(_listed(names), path)
        return 0
    if isinstance(channel, str):
        found = [number for number, name in enumerate(names) if name.casefold() == channel.strip().casefold()]
        if len(found) == 1:
            return found[0]
    elif 0 <= channel < len(names):
        return channel
    raise DataError(
        f"it has no channel {channel!r}; it has {_listed(names)} ({SETTING})",
        remedy=f"set {SETTING} in params.yaml to one of them",
        file=path,
    )


def _listed(names: Sequence[str]) -> str:
    shown = [f"{number}: {name[:40]}" if name else f"{number}" for number, name in enumerate(names[:_SHOWN])]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} channel{'s' if len(names) > 1 else ''} ({', '.join(shown)}{more})"


def refuse_times(count: int, path: Path) -> None:
    """Raise DataError if there is more than one time point."""
    if count > 1:
        what = f"it holds {count:,} time points, a volume is one; slices that are called so: {_IN_FIJI}"
        raise not_a_stack(path, what, f"save one time point as a stack; if they are slices, {_IN_FIJI}")
