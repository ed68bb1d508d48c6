"""Records in portions: few questions to a server, and none that is too large for it."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from stages.common.tracking.spool.records import PointsRecord, Record

MAX_BATCH = 100  # of params and tags; metrics may be more
Item = TypeVar("Item")


def batches(records: Iterator[tuple[Record | None, int]]) -> Iterator[tuple[list[Record | None], int]]:
    """(records, where they end): points in a row together, up to MAX_BATCH values; anything else alone."""
    waiting: list[Record | None] = []
    values, end = 0, 0
    for record, record_end in records:
        is_points = isinstance(record, PointsRecord)
        if waiting and (not is_points or values + len(record.values) > MAX_BATCH):  # type: ignore[union-attr]
            yield waiting, end
            waiting, values = [], 0
        end = record_end
        if isinstance(record, PointsRecord):
            waiting.append(record)
            values += len(record.values)
        else:
            yield [record], end
    if waiting:
        yield waiting, end


def slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """`items` in portions of MAX_BATCH."""
    return (items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH))
