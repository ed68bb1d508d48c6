"""A toy project: one stage in the house's shape, whose behaviour a param chooses. Real DVC and processes, no torch."""

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.support.parts import REPOSITORY, command_environment
from tests.support.repository import start_repository
from tests.support.warm import with_warm_commands

DVC_YAML = """
stages:
  toy:
    cmd: capillary stage toy --flag x
    deps: [data/in.txt, stages/toy, stages/common, stages/__init__.py]
    params: [toy.mode, toy.times]
    outs: [data/out]
"""
LIMITS = "gpu: none, memory_gb: null, pids: 256, shm_gb: 0.0625"
ACCESS = f"toy: {{network: none, env: [TOY_*], resume: true, {LIMITS}}}\n"
PROGRAM = """
import json, os, sys, time
from pathlib import Path
import yaml
from stages.common.program.ending import run_main


def main():
    toy = yaml.safe_load(Path("params.yaml").read_text())["toy"]
    state = Path(json.loads(Path("order.json").read_text())["state_dir"])
    Path("data/out").mkdir()
    Path("data/out/copy.txt").write_text(Path("data/in.txt").read_text() * toy["times"])
    modes[toy["mode"]](state)


def fork_read(state):
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply(Path("data/other.txt").read_text))


def swallow(state):
    try:
        Path("data/other.txt").read_text()
    except OSError as error:
        raise RuntimeError("wrapped") from error


def sleep(state):
    (state / "started").write_text(str(os.getpid()))
    # in steps: Python runs no handler in a sleep for a signal that came just before it
    for _ in range(1200):
        time.sleep(0.1)


def connect(state):
    import urllib.request

    urllib.request.urlopen("http://127.0.0.1:9/")


def remove_out(state):
    import shutil

    shutil.rmtree("data/out")


def tell(state):
    Path("data/out/env.txt").write_text("\\n".join(sorted(os.environ)))
    Path("data/out/argv.txt").write_text(" ".join(sys.argv[1:]))
    Path("data/out/params.yaml").write_text(Path("params.yaml").read_text())
    Path("data/out/files.txt").write_text("\\n".join(sorted(str(p) for p in Path().rglob("*"))))


def temporary(state):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "x").write_text("x")
    Path("data/.out.123.tmp").write_text("hidden temporary beside the out")


def attempt_all(state):
    said = {}
    for name in ATTEMPTS:
        try:
            modes[name](state)
            said[name] = "nothing happened"
        except Exception as error:
            said[name] = str(error)
    (state / "said.json").write_text(json.dumps(said))
    swallow(state)


modes = {
    "copy": lambda state: None,
    "read_undeclared": lambda state: print(Path("data/other.txt").read_text()),
    "read_absolute": lambda state: print((Path(os.environ["TOY_ROOT"]) / "data/other.txt").read_text()),
    "list_undeclared": lambda state: print(os.listdir(os.environ["TOY_ROOT"])),
    "import_undeclared": lambda state: __import__("stages.other"),
    "write_dep": lambda state: Path("data/in.txt").write_text("changed"),
    "remove_dep": lambda state: Path("data/in.txt").resolve().unlink(),
    "write_undeclared": lambda state: Path("data/more.txt").write_text("x"),
    "write_elsewhere": lambda state: (Path(os.environ["TOY_ROOT"]).parent / "stray.txt").write_text("x"),
    "fork_read": fork_read,
    "swallow": swallow,
    "connect": connect,
    "crash": lambda state: 1 / 0,
    "exit": lambda state: sys.exit(9),
    "remove_out": remove_out,
    "sleep": sleep,
    "tell": tell,
    "temporary": temporary,
    "attempt_all": attempt_all,
}
ATTEMPTS = [name for name in modes if name.startswith(("read_", "list_", "write_", "remove_d", "import_"))]
ATTEMPTS += ["fork_read", "connect"]
run_main(main)
"""


class ToyProject:
    """A committed Git and DVC repository with one stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        files = {
            "dvc.yaml": DVC_YAML,
            "configs/stages.yaml": ACCESS,
            "configs/compute.yaml": (REPOSITORY / "configs" / "compute.yaml").read_text(),
            "stages/__init__.py": '"""Toy stages."""\n',
            "stages/other.py": "x = 1\n",
            "stages/toy/__init__.py": '"""A toy."""\n',
            "stages/toy/__main__.py": PROGRAM,
            "data/in.txt": "hello\n",
            "data/other.txt": "undeclared\n",
            ".gitignore": "/.capillary/\n/data/out\n",
        }
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "stages" / "common").mkdir()
        for name in ("__init__", "errors", "params", "text"):
            shutil.copy(REPOSITORY / "stages" / "common" / f"{name}.py", root / "stages" / "common")
        program = REPOSITORY / "stages" / "common" / "program"
        shutil.copytree(program, root / "stages/common/program", ignore=shutil.ignore_patterns("__pycache__"))
        self.set("copy")
        start_repository(root)
        for argv in (["git", "add", "-A"], ["git", "commit", "-qm", "toy"]):
            subprocess.run(argv, cwd=root, env=self.environment(), check=True, capture_output=True)

    def copy(self, root: Path) -> Self:
        """The same project, with its outs and its cache, in another folder."""
        shutil.copytree(self.root, root, symlinks=True)
        twin = copy.copy(self)
        twin.root = root
        return twin

    def environment(self, **more: str) -> dict[str, str]:
        """A user's environment that names the project to the toy."""
        return command_environment(TOY_ROOT=str(self.root), SECRET_TOKEN="s3cr3t", **more)

    def set(self, mode: str, times: int = 1) -> None:
        """Choose what the toy does."""
        (self.root / "params.yaml").write_text(f"toy: {{mode: {mode}, times: {times}}}\n")

    def repro(self, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`dvc repro`, output captured."""
        return self.run("dvc", "repro", *more, **variables)

    def run(self, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Any command in the project; DVC and the launcher start warm, the stage is a real process."""
        environment = with_warm_commands(self.environment(**variables))
        return subprocess.run(argv, cwd=self.root, env=environment, check=False, capture_output=True, text=True)

    def start(self, *argv: str, **variables: str) -> subprocess.Popen[str]:
        """A command in the background; nothing of it starts warm."""
        return self._start(argv, self.environment(**variables))

    def start_warm(self, *argv: str) -> subprocess.Popen[str]:
        """A command in the background, of which DVC and the launcher start warm."""
        return self._start(argv, with_warm_commands(self.environment()))

    def _start(self, argv: tuple[str, ...], environment: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            argv, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def out(self, name: str = "copy.txt") -> str:
        """A file of the published out."""
        return (self.root / "data" / "out" / name).read_text()

    def leftovers(self) -> list[Path]:
        """What is left of sandboxes."""
        return list((self.root / ".capillary" / "sandbox").glob("*"))
