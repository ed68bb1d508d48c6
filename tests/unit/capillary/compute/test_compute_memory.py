import pytest

from capillary.compute.memory import GIB, memory_limit


@pytest.mark.parametrize(
    ("memory_gb", "machine_gib", "side_by_side", "limit_gib"),
    [
        (None, 8, 1, 7.0),
        (None, 64, 1, 57.6),
        (None, 64, 4, 14.4),
        (None, 1000, 1, 984.0),
        (None, 2, 1, 1.0),
        (None, 4, 8, 1.0),
        (None, None, 1, None),
        (2.5, 64, 4, 2.5),
        (2.5, None, 1, 2.5),
        ("none", 64, 1, None),
    ],
)
def test_a_container_has_what_its_entry_says_or_a_share(
    memory_gb: float | str | None, machine_gib: int | None, side_by_side: int, limit_gib: float | None
) -> None:
    """A tenth of the machine is left to others, 1 to 16 GiB; a share never falls below what a stage starts with."""
    machine = None if machine_gib is None else machine_gib * GIB
    limit = memory_limit(memory_gb, machine, side_by_side)  # type: ignore[arg-type]  # a table of all kinds
    assert limit == (None if limit_gib is None else pytest.approx(limit_gib * GIB, abs=1))


def test_all_shares_together_leave_room() -> None:
    """Whatever runs at once, the machine does not run out before a container does."""
    for side_by_side in range(1, 9):
        share = memory_limit(None, 64 * GIB, side_by_side)
        assert share is not None
        assert share * side_by_side <= 58 * GIB
