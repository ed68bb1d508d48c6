"""What the launcher costs: a stage that does nothing, through `capillary stage` and as a plain `python -m`.

    python benchmarks/stage_overhead.py [ROUNDS]

Uses a toy repository in a temporary folder; both ways start the same program on the same files, turn by turn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.orders import write_order
from tests.support.toy import ToyProject


def seconds(argv: list[str], cwd: Path, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, cwd=cwd, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        toy = ToyProject(Path(folder) / "toy")
        write_order(toy.root, state_dir=Path(folder))
        environment = toy.environment(DVC_STAGE="toy", DVC_ROOT=str(toy.root))
        launcher, plain = [], []
        for _ in range(rounds):
            launcher.append(seconds(["capillary", "stage", "toy"], toy.root, environment))
            subprocess.run(["rm", "-r", "data/out"], cwd=toy.root, check=True)
            by_hand = environment | {"PYTHONPATH": str(toy.root)}
            plain.append(seconds([sys.executable, "-m", "stages.toy"], toy.root, by_hand))
            subprocess.run(["rm", "-r", "data/out"], cwd=toy.root, check=True)
        through, alone = statistics.median(launcher), statistics.median(plain)
        print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {rounds} rounds, medians")
        print(f"plain python -m      {alone:.2f} s")
        print(f"capillary stage      {through:.2f} s")
        print(f"overhead             {through - alone:.2f} s, ratio {through / alone:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
