"""The service under load: clients that send small stacks while its model changes and it is restarted.

    cd PROJECT && python CHECKOUT/benchmarks/serve_load.py NAME VERSION VERSION [--clients 20] [--seconds 60]

PROJECT has the two versions of the registered model NAME in its MLflow store, such as two folds that were trained. An
alias of the benchmark's own moves between them ten times, and the service gets SIGTERM twice and starts again. Each
mask is compared with what its version gives alone: another one would be that of a half-loaded model.

At last, with nothing else at work, WARM_STACKS equal stacks go through `capillary predict` and through the service: the
time per stack in the warm service, relative to what predict takes to read, compute and write one.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import mlflow
import numpy as np
import psutil
import tifffile

CHECKOUT = Path(__file__).resolve().parent.parent
ALIAS = "serve-load"
SHAPES = ((5, 32, 32), (6, 40, 32), (4, 48, 40))  # z, y, x
SWAPS, RESTARTS = 10, 2
POLL_S = 0.1
MOST_SWAP_S = 120.0
WARM_SHAPE, WARM_STACKS = (12, 256, 256), 4


@dataclass
class Tally:
    """What the clients saw. `seconds` from submission to mask, `computed` in the worker; each with its voxels."""

    accepted: int = 0
    done: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    by_version: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    per_voxel_us: list[float] = field(default_factory=list)
    computed_us: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Service:
    """The service as a process, which `restart` ends by SIGTERM and starts again, with all its workers."""

    def __init__(self, folder: Path, name: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "SERVE_PORT": str(self.port),
            "CAPILLARY_SERVE_MODEL": f"{name}@{ALIAS}",
            "CAPILLARY_SERVE_FOLDER": str(folder),
            "CAPILLARY_SERVE_WATCH_S": "0.5",
            "CAPILLARY_SERVE_QUEUE": "64",
            "CAPILLARY_SERVE_JOBS_PER_TOKEN": "64",
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)
        self.process = self.start()
        self.peak_bytes: list[int] = [0]

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "serving"], env=self.environment)
        until(self.is_ready)
        return process

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == 200
        return False

    def version(self) -> str | None:
        with contextlib.suppress(httpx.TransportError):
            named: str | None = self.client.get("/readyz").headers.get("X-Model-Version")
            return named
        return None

    def restart(self) -> None:
        self.stop()
        self.peak_bytes.append(0)
        self.process = self.start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)

    def sample(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            whole = psutil.Process(self.process.pid)
            taken = sum(each.memory_info().rss for each in [whole, *whole.children(recursive=True)])
            self.peak_bytes[-1] = max(self.peak_bytes[-1], taken)


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(POLL_S)


def stacks(shapes: Sequence[tuple[int, int, int]] = SHAPES) -> list[bytes]:
    """One stack of each shape, as a TIFF."""
    rng = np.random.default_rng(0)
    files = []
    for shape in shapes:
        stream = io.BytesIO()
        tifffile.imwrite(stream, rng.integers(0, 4096, shape, np.uint16))
        files.append(stream.getvalue())
    return files


def submit(client: httpx.Client, stack: bytes, tally: Tally) -> str | None:
    """The accepted job's id; None if it was refused or the service is away."""
    try:
        answer = client.post("/v1/jobs", files={"stack": ("a.tif", stack)}, data={"spacing_um": "2,1,1"})
    except httpx.TransportError as error:
        tally.refused[type(error).__name__] += 1
        return None
    if answer.status_code != 202:
        tally.refused[str(answer.status_code)] += 1
        return None
    return str(answer.json()["id"])


def follow(client: httpx.Client, job: str) -> tuple[dict[str, object], bytes] | None:
    """The job once it is done, and its mask; None if the service does not know it or it failed."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = client.get(f"/v1/jobs/{job}")
            state = answer.json().get("state")
            if answer.status_code == 404 or state in ("failed", "cancelled"):
                return None
            if state == "done":
                return answer.json(), client.get(f"/v1/jobs/{job}/mask").content
        time.sleep(POLL_S)


def work(
    service: Service, number: int, expected: dict[tuple[str, int], bytes], enough: threading.Event, tally: Tally
) -> None:
    """One client: stack after stack until it is enough, each followed to its mask."""
    files, turn = stacks(), number
    with httpx.Client(base_url=service.client.base_url, timeout=60, trust_env=False) as client:
        while not enough.is_set():
            which = turn % len(files)
            began = time.monotonic()
            job = submit(client, files[which], tally)
            if job is None:
                time.sleep(0.5)
                continue
            turn += 1
            with tally.lock:
                tally.accepted += 1
            judge(job, which, follow(client, job), expected, time.monotonic() - began, tally)


def judge(
    job: str,
    which: int,
    found: tuple[dict[str, object], bytes] | None,
    expected: dict[tuple[str, int], bytes],
    seconds: float,
    tally: Tally,
) -> None:
    with tally.lock:
        if found is None:
            tally.lost.append(job)
            return
        shown, mask = found
        model, result = shown["model"], shown["result"]
        assert isinstance(model, dict)
        assert isinstance(result, dict)
        tally.done += 1
        tally.by_version[model["version"]] += 1
        if mask != expected[model["version"], which]:
            tally.wrong.append(job)
        voxels = int(np.prod(SHAPES[which]))
        tally.seconds.append(seconds)
        tally.per_voxel_us.append(1e6 * seconds / voxels)
        tally.computed_us.append(1e6 * result["seconds"] / voxels)


def disturb(service: Service, move: Callable[[int], None], versions: list[str], seconds: float) -> int:
    """Move the alias ten times and restart twice, over `seconds` at least; returns how many moves took effect.

    A model takes its time to load, so the next move waits until the last one is seen.
    """
    taken, began = 0, time.monotonic()
    restarts = [int((each + 1) * SWAPS / (RESTARTS + 1)) for each in range(RESTARTS)]
    for swap in range(SWAPS):
        move(swap + 1)
        if swap in restarts:
            service.restart()
        patience = time.monotonic() + MOST_SWAP_S
        while time.monotonic() < patience and service.version() != versions[(swap + 1) % 2]:
            service.sample()
            time.sleep(0.2)
        taken += service.version() == versions[(swap + 1) % 2]
        while time.monotonic() < began + (swap + 1) * seconds / SWAPS:
            service.sample()
            time.sleep(0.2)
    return taken


def alone(
    service: Service, versions: list[str], move: Callable[[int], None]
) -> Iterator[tuple[tuple[str, int], bytes]]:
    """What each version gives for each stack with nothing else at work."""
    for turn, version in enumerate(versions):
        move(turn)
        until(lambda version=version: service.version() == version)  # type: ignore[misc]
        for which, stack in enumerate(stacks()):
            job = submit(service.client, stack, Tally())
            assert job is not None
            found = follow(service.client, job)
            assert found is not None
            yield (version, which), found[1]


def warm(service: Service, name: str) -> dict[str, object]:
    """Seconds per stack of `capillary predict` and of the service, both with the version that the alias names."""
    (stack,) = stacks([WARM_SHAPE])
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.tif") for number in range(WARM_STACKS)]
        for file in files:
            file.write_bytes(stack)
        out = Path(folder, "out")
        command = ["capillary", "predict", *map(str, files), str(out), "--model", f"{name}@{ALIAS}"]
        # as plain processes, as the service runs here
        environment = {**os.environ, "CAPILLARY_EXECUTOR": "process"}
        subprocess.run([*command, "--spacing-um", "2,1,1"], check=True, env=environment)
        rows = list(csv.DictReader((out / "predictions.csv").open()))
        masks = {file.read_bytes() for file in out.glob("*.tif")}
    # the first one has the network loaded
    predicted = [sum(float(row[f"{step}_s"]) for step in ("read", "compute", "write")) for row in rows[1:]]
    served, same = [], True
    for _ in range(WARM_STACKS):
        job = submit(service.client, stack, Tally())
        assert job is not None
        found = follow(service.client, job)
        assert found is not None
        result = found[0]["result"]
        assert isinstance(result, dict)
        served.append(float(result["seconds"]))
        same = same and {found[1]} == masks
    medians = statistics.median(predicted), statistics.median(served[1:])
    return {
        "voxels": int(np.prod(WARM_SHAPE)),
        "predict, seconds a stack": round(medians[0], 3),
        "service, seconds a stack": round(medians[1], 3),
        "ratio": round(medians[1] / medians[0], 3),
        "masks equal to the byte": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("versions", nargs=2)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    registry = mlflow.MlflowClient()

    def move(turn: int) -> None:
        registry.set_registered_model_alias(options.name, ALIAS, options.versions[turn % 2])

    move(0)
    tally, enough = Tally(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), options.name)
        try:
            expected = dict(alone(service, options.versions, move))
            clients = [
                threading.Thread(target=work, args=(service, number, expected, enough, tally))
                for number in range(options.clients)
            ]
            for client in clients:
                client.start()
            seen = disturb(service, move, options.versions, options.seconds)
            enough.set()
            for client in clients:
                client.join()
            print(json.dumps({"load": summary(tally, seen, service)}, indent=1), flush=True)
            print(json.dumps({"warm": warm(service, options.name)}, indent=1))
        finally:
            service.stop()
    sys.exit(1 if tally.lost or tally.wrong or tally.done != tally.accepted else 0)


def summary(tally: Tally, seen: int, service: Service) -> dict[str, object]:
    def quantiles(values: list[float]) -> dict[str, float]:
        cuts = statistics.quantiles(values, n=20)
        return {"p50": round(cuts[9], 3), "p95": round(cuts[18], 3)}

    return {
        "accepted": tally.accepted,
        "done": tally.done,
        "lost": tally.lost,
        "masks of no whole model": tally.wrong,
        "answers by version": dict(tally.by_version),
        "swaps seen": seen,
        "not accepted": dict(tally.refused),
        "seconds, submission to mask": quantiles(tally.seconds),
        "µs per voxel, submission to mask": quantiles(tally.per_voxel_us),
        "µs per voxel, in the worker": quantiles(tally.computed_us),
        "peak memory by life, MB": [round(each / 1e6) for each in service.peak_bytes],
    }


if __name__ == "__main__":
    main()
