"""A DVC project of independent cells, and a driver that runs them side by side.

A cell is SLEEPING, failing or killing on demand, or REGISTERING: it opens a run and registers a network as train does.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.parts import REPOSITORY, command_environment
from tests.support.processes import processes_in
from tests.support.repository import start_repository
from tests.support.warm import warm_python

SLEEPING = """
import os, pathlib, signal, sys, time
name = sys.argv[1]
log = pathlib.Path("ran") / name
log.parent.mkdir(exist_ok=True)
with log.open("a") as stream:
    stream.write("x")
fate = pathlib.Path("fates") / name
fate = fate.read_text() if fate.exists() else ""
print("cell", name, os.environ.get("SLOT", ""), flush=True)
time.sleep(float(os.environ.get("CELL_S", "0")))
if fate == "fail":
    sys.exit(3)
if fate == "kill dvc":
    os.kill(int(pathlib.Path(f"/proc/{os.getppid()}/stat").read_text().rsplit(")", 1)[1].split()[1]), signal.SIGKILL)
    sys.exit(0)
pathlib.Path("outs").mkdir(exist_ok=True)
(pathlib.Path("outs") / name).write_text(name * 3)
"""
REGISTERING = """
import os, pathlib, sys
from dataclasses import replace
import torch
from dataclasses import asdict
from functools import partial
from stages.common.atomic import atomic_write
from stages.common.imaging.recipe import Recipe
from stages.common.networks.catalogue import build_network
from stages.common.networks.description import describe
from stages.common.networks.plan import NetworkPlan
from stages.common.packing import pack
from stages.common.runtime import read_runtime
from stages.common.tracking.publishing import network_files
from stages.common.tracking.receipts import read_receipt
from stages.common.tracking.cards.card import ModelCard
from stages.common.tracking.runs import open_run
from stages.train.resuming.lock import cell_lock

ONE = (1, 1, 1)
PLAN = NetworkPlan(patch_voxels=ONE, filters=(1, 1, 1), kernels=(ONE, ONE, ONE), strides=(ONE, ONE, ONE))
RECIPE = Recipe(normalisation="none", percentile_low=0.0, percentile_high=100.0, resample_to_um=None)
network = partial(build_network, PLAN, architecture="segresnet", deep_supervision=False)
name = sys.argv[1]
told = {"stage": os.environ["DVC_STAGE"], "fingerprint": name, "state_dir": pathlib.Path("state", name)}
runtime = replace(read_runtime(), **told, artifact_root=os.path.abspath("mlruns/artifacts"))
fold = int(name[1:])
begun = runtime.state_dir / "run_id"
with cell_lock(runtime.state_dir):
    run_id = begun.read_text() if begun.exists() else None
    with open_run(runtime, cell_tags={"fold": str(fold)}, run_name=name, run_id=run_id, system_metrics=False) as run:
        with atomic_write(begun) as stream:
            stream.write(run.id.encode())
        run.log_metrics({"loss": 1.0 / (fold + 1)}, step=0)
        package = pack(network(fold), describe("segresnet", PLAN, precision="fp32", recipe=asdict(RECIPE), ties={}))
        card = ModelCard(
            loss="any", fold=fold, fingerprint=name, weights_sha256=package.weights_sha256, files=package.files,
            patch_voxels=ONE, epochs=1, validation_dsc=0.0, precision="fp32", recipe=RECIPE,
        )
        run.publish("network", network_files(package, card))
receipt = read_receipt(runtime.receipts, name, runtime.tracking_uri)
pathlib.Path("outs").mkdir(exist_ok=True)
(pathlib.Path("outs") / name).write_text(f"{receipt.run_id} {receipt.version}")
"""
DRIVER = """
import json, os, sys, threading
from pathlib import Path
from capillary.experiments import cells as experiments
from capillary.experiments.cells import Cells, Slot
from capillary.lifetimes.interrupts import passing_on

experiments.KILL_SAFE_DVC = (os.environ["DVC_PYTHON"], *experiments.KILL_SAFE_DVC[1:])


class Quiet:
    def __init__(self): self._lock = threading.Lock()  # it is called from several threads, whose words would mix
    def started(self, address, slot): self._print("started", address, slot.name)
    def printed(self, address, line): pass
    def ended(self, outcome): self._print("ended", outcome.address, outcome.code)
    def _print(self, *words):
        with self._lock:
            print(*words, flush=True)


count, *addresses = sys.argv[1:]
slots = [Slot(name=str(n), environment={"SLOT": str(n)}) for n in range(int(count))]
cells = Cells(Path.cwd(), dict(os.environ), Path(".logs"), Quiet())
with passing_on(cells.stop) as asked:
    outcomes = cells.run(addresses, slots)
Path("outcomes.json").write_text(json.dumps({o.address: [o.code, o.ran] for o in outcomes}))
sys.exit(asked.code)
"""


def dvc_yaml(names: Sequence[str]) -> dict[str, Any]:
    """The graph. `exit $?` keeps a shell between DVC and the cell, as with every cmd of two words and a redirection."""
    cell = {
        "matrix": {"n": list(names)},
        "cmd": f"{warm_python()} cell.py ${{item.n}} 2>&1; exit $?",
        "deps": ["cell.py", "shared.txt"],
        "outs": ["outs/${item.n}"],
    }
    return {"stages": {"cell": cell}}


class CellProject:
    """`count` cells that run the program `cell`, nothing run yet. The cells start warm."""

    def __init__(self, root: Path, cell: str = SLEEPING, count: int = 8) -> None:
        self.root = root
        names = [f"c{number:02d}" for number in range(count)]
        self.addresses = tuple(f"cell@{name}" for name in names)
        root.mkdir(parents=True)
        (root / "cell.py").write_text(cell)
        (root / "driver.py").write_text(DRIVER)
        (root / "shared.txt").write_text("shared\n")
        (root / "dvc.yaml").write_text(yaml.safe_dump(dvc_yaml(names)))
        (root / "fates").mkdir()
        start_repository(root)

    def start(self, slots: int, cell_s: float = 0, dvc_python: str = sys.executable) -> subprocess.Popen[str]:
        """The driver in the background."""
        return subprocess.Popen(
            [sys.executable, "driver.py", str(slots), *self.addresses],
            cwd=self.root,
            env=command_environment(PYTHONPATH=str(REPOSITORY), CELL_S=str(cell_s), DVC_PYTHON=dvc_python),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, slots: int, cell_s: float = 0) -> dict[str, tuple[int, bool]]:
        """All cells, with a DVC that starts warm; address → (exit code, whether its command ran)."""
        process = self.start(slots, cell_s, warm_python())
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return {key: (code, ran) for key, (code, ran) in json.loads((self.root / "outcomes.json").read_text()).items()}

    def set_fates(self, fates: Mapping[str, str]) -> None:
        """What becomes of cells that run from now on: `fail`, `kill dvc`; the others end well."""
        for file in (self.root / "fates").iterdir():
            file.unlink()
        for address, fate in fates.items():
            (self.root / "fates" / address.removeprefix("cell@")).write_text(fate)

    def counts(self) -> Counter[str]:
        """How often each cell's command was started."""
        return Counter({f"cell@{file.name}": len(file.read_text()) for file in (self.root / "ran").glob("*")})

    def recorded(self) -> dict[str, str]:
        """Cells in dvc.lock with the checksum of their out."""
        lock = self.root / "dvc.lock"
        stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {}) if lock.exists() else {}
        return {address: stage["outs"][0]["md5"] for address, stage in stages.items()}

    def processes(self) -> list[int]:
        """Processes that still work in the project."""
        return [process.pid for process in processes_in(self.root)]

    def wait_until_quiet(self, timeout_s: float = 15) -> None:
        """Return when nothing works in the project any more."""
        deadline = time.monotonic() + timeout_s
        while self.processes():
            assert time.monotonic() < deadline, "processes outlive the driver"
            time.sleep(0.05)


def kill(process: subprocess.Popen[str]) -> None:
    """As the kernel's OOM killer does."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
