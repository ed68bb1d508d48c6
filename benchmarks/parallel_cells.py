"""What cells side by side save: twelve cells of equal length, one after the other and on two slots.

    python benchmarks/parallel_cells.py [--seconds S] [--json]

The cells sleep, so that the machine's cores do not set the limit: what is measured is the scheduler and DVC's locks.
Each way starts from a fresh project; everything must be in dvc.lock afterwards. Needs Git; works in a temporary folder.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.integration.experiments.cell_project import CellProject

TARGET = 0.55


def measure(root: Path, slots: int, cell_s: float) -> float:
    """Seconds for all cells on `slots`."""
    project = CellProject(root)
    started = time.perf_counter()
    outcomes = project.run(slots, cell_s)
    took = time.perf_counter() - started
    assert set(outcomes.values()) == {(0, True)}, outcomes
    assert set(project.recorded()) == set(project.addresses)
    return took


def main() -> None:
    """Measure both ways and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="length of a cell")
    parser.add_argument("--json", action="store_true", help="for machines")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = measure(Path(folder, "one"), 1, arguments.seconds)
        two = measure(Path(folder, "two"), 2, arguments.seconds)
    result = {"one_slot_s": round(one, 1), "two_slots_s": round(two, 1), "ratio": round(two / one, 3)}
    if arguments.json:
        print(json.dumps({"machine": platform.processor() or platform.machine(), **result}))
        return
    print(f"12 cells of {arguments.seconds:g} s: one slot {one:.1f} s, two slots {two:.1f} s")
    print(f"ratio {two / one:.3f} (target: at most {TARGET})")


if __name__ == "__main__":
    main()
