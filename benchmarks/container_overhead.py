"""What the launcher costs where stages run in containers, and what `dvc repro` costs when nothing changed.

    python benchmarks/container_overhead.py [--rounds N] [--json]

A stage that does next to nothing, through `capillary stage` and by `docker run` of the same image with the same mounts,
limits and command, in alternating order. Then a no-op `dvc repro` of this repository's own graph with 12 train cells,
whose outs are small stand-ins. Needs a Docker daemon and Git; works in a temporary folder.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.clone import Clone
from tests.support.docker.containers import ContainerToy, client
from tests.support.orders import write_order

OVERHEAD_TARGET_S = 0.7
NOOP_TARGET_S = 3.0
# DVC reads the graph, nobody trains: the names of the losses need not exist
LOSSES, FOLDS, VOLUMES = ("one", "two", "three", "four"), (0, 1, 2), 20
MODE = """
def nothing(state, times):
    write([0], times)
"""


def seconds(action: Callable[[], object]) -> float:
    """Wall time of `action`."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def by_hand(toy: ContainerToy, image: str, scratch: Path) -> list[str]:
    """`docker run` as the launcher's container is made: see capillary/executors/container/spec.py."""
    work = "/work/toy"
    write_order(toy.root, state_dir=Path("/state"))
    deps = ("data/in.txt", "stages/toy", "stages/common", "stages/__init__.py", "params.yaml", "order.json")
    reads = [f"--mount=type=bind,source={toy.root / dep},target={work}/{dep},readonly" for dep in deps]
    writes = {scratch / "data": f"{work}/data", scratch / "tmp": "/capillary/tmp", scratch / "state": "/state"}
    mounts = [f"--mount=type=bind,source={source},target={target}" for source, target in writes.items()]
    variables = ["--env=TMPDIR=/capillary/tmp", "--env=PYTHONDONTWRITEBYTECODE=1"]
    walls = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    limits = ["--memory=268435456", "--memory-swap=268435456", "--pids-limit=64", "--shm-size=64m"]
    user = f"--user={os.geteuid()}:{os.getegid()}"
    options = [*mounts, *reads, *variables, *walls, *limits, user, f"--workdir={work}"]
    return ["docker", "run", "--rm", "--init", *options, image, "python", "-m", "stages.toy", "--flag", "x"]


def measure_overhead(folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of a stage through the launcher, and of the same by hand."""
    toy = ContainerToy(folder / "toy", MODE)
    toy.set("nothing")
    environment = toy.environment(DVC_STAGE="toy", DVC_ROOT=str(toy.root))
    scratch = folder / "scratch"
    out = toy.root / "data" / "out"

    def launcher() -> float:
        argv = ["capillary", "stage", "toy", "--flag", "x"]
        took = seconds(lambda: subprocess.run(argv, cwd=toy.root, env=environment, check=True, capture_output=True))
        shutil.rmtree(out)
        return took

    def plain() -> float:
        shutil.rmtree(scratch, ignore_errors=True)
        for name in ("data", "tmp", "state"):
            (scratch / name).mkdir(parents=True)
        (scratch / "data" / "in.txt").touch()
        argv = by_hand(toy, image, scratch)
        return seconds(lambda: subprocess.run(argv, env=environment, check=True, capture_output=True))

    launcher()  # builds the image
    images = client().images.list(filters={"label": "capillary.environment=toy"})
    image = max(images, key=lambda found: found.attrs["Created"]).tags[0]
    plain()
    pairs = [(launcher(), plain()) if number % 2 else (plain(), launcher())[::-1] for number in range(rounds)]
    return [through for through, _ in pairs], [alone for _, alone in pairs]


def measure_noop(folder: Path, rounds: int) -> list[float]:
    """Seconds of `dvc repro` in a clone in which nothing changed."""
    clone = Clone(folder / "clone")
    clone.set_params({"training.losses": f"[{', '.join(LOSSES)}]", "training.folds": str(list(FOLDS))})
    make_outs(clone)
    clone.run("dvc", "commit", "--force", "--quiet")
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        done = clone.run("dvc", "repro")
        took.append(time.perf_counter() - started)
        assert clone.ran(done.stdout) == [], done.stdout
    return took


def make_outs(clone: Clone) -> None:
    """A stand-in for each out of the graph, with the files of a data set of `VOLUMES` volumes."""
    names = [f"data/raw/{number}/{name}.tif" for number in range(VOLUMES) for name in ("image", "label")]
    kinds = ("image", "label", "skeleton")
    names += [f"data/processed/{number}/{name}.npy" for number in range(VOLUMES) for name in kinds]
    for loss in LOSSES:
        for fold in FOLDS:
            names += [f"models/{loss}/fold_{fold}.json", f"metrics/training/{loss}/fold_{fold}.csv"]
    tables = ("per_volume.parquet", "paired.csv", "overlays.json", "metrics.json", "per_volume.csv", "summary.csv")
    names += [f"metrics/{name}" for name in (*tables, "overlays/best.png")]
    for name in names:
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.root / name).write_text("{}\n")


def report(launcher: list[float], plain: list[float], noop: list[float]) -> dict[str, float]:
    """Medians in seconds."""
    through, alone = statistics.median(launcher), statistics.median(plain)
    return {
        "docker_run_s": alone,
        "launcher_s": through,
        "overhead_s": through - alone,
        "overhead_ratio": through / alone,
        "noop_repro_s": statistics.median(noop),
    }


def show(figures: dict[str, float], rounds: int) -> None:
    """The table."""
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {rounds} rounds, medians")
    rows = [
        ("docker run, by hand", "docker_run_s", "", ""),
        ("capillary stage, same image and command", "launcher_s", "", ""),
        ("overhead", "overhead_s", f"{figures['overhead_ratio']:.2f}", f"≤ {OVERHEAD_TARGET_S} s"),
        ("dvc repro, nothing changed, 12 train cells", "noop_repro_s", "", f"≤ {NOOP_TARGET_S:g} s"),
    ]
    print(f"{'':44} {'seconds':>8} {'ratio':>6}  target")
    for name, key, ratio, target in rows:
        print(f"{name:44} {figures[key]:8.2f} {ratio:>6}  {target}")


def main() -> int:
    """0 when both targets hold, 1 when one does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        figures = report(*measure_overhead(folder, arguments.rounds), measure_noop(folder, min(arguments.rounds, 5)))
    if arguments.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()} | {"rounds": arguments.rounds}))
    else:
        show(figures, arguments.rounds)
    return int(figures["overhead_s"] > OVERHEAD_TARGET_S or figures["noop_repro_s"] > NOOP_TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
