"""The work in a project that was laid out: its data, its trainings, its evaluation, each a command of DVC."""

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML

from capillary.dvc.commands import DVC
from capillary.lifetimes.leash import kill_group, leash
from capillary.lifetimes.stop import Stop
from capillary.reproduce.differences import Trained
from capillary.reproduce.project import Project
from capillary.yaml_file import read_yaml
from stages.common.errors import CapillaryError, DataError, ExitCode
from stages.common.lifetimes.signals import signal_group
from stages.common.program.messages import get_logger
from stages.common.provenance.record import FOLDER, LOCK, PARAMS, RECORD, ProvenanceRecord, read_record

log = get_logger(__name__)

DATA = "preprocess"
# a training must train, whatever the cache remembers of it; and nobody is to find its outs there
_ANEW = ("--single-item", "--no-run-cache", "--no-commit")


class CommandRunner:
    """Commands in `project`, with `environment`. A request to stop ends the one that runs."""

    def __init__(self, project: Project, environment: Mapping[str, str], stop: Stop, grace_s: float) -> None:
        self.project = project
        self._environment = environment
        self._stop = stop
        self._grace_s = grace_s

    def get_data(self) -> None:
        """The data of the training: by its hash from the cache or a remote, else made again from its source."""
        for words in ("checkout", "pull"):
            if self._runs(words, "--quiet", DATA) and self._has_data():
                log.info("the data are those of the training, according to DVC's hash")
                return
        log.warning("the data are in neither the cache nor a remote: they are made again from the source")
        self._do("repro", DATA)

    def train(self, address: str) -> None:
        """Train one cell from its beginning."""
        self._do("repro", *_ANEW, address)

    def evaluate(self, loss: str) -> Mapping[str, float]:
        """The means of the metrics of `loss`, measured with what was trained here."""
        set_losses(self.project.root / PARAMS, [loss])
        self._do("repro", *_ANEW, "evaluate")
        found = json.loads((self.project.root / "metrics" / "metrics.json").read_text(encoding="utf-8"))
        return {name: one["mean"] for name, one in found[loss].items() if one.get("mean") is not None}

    def changed_for(self, addresses: Sequence[str]) -> str:
        """What the stages `addresses` depend on and is no longer as they had it, as DVC says; empty if all of it is."""
        with tempfile.TemporaryFile() as answer:
            if self._run("status", "--json", *addresses, output=answer):
                return "DVC cannot say what"
            answer.seek(0)
            return ", ".join(sorted(set(_changed(json.load(answer)))))

    def _has_data(self) -> bool:
        """Whether dvc.lock names the data and they are there: DVC passes over what it has no record of."""
        recorded = _entry(self.project.root, DATA).get("outs", [])
        return bool(recorded) and all((self.project.root / out["path"]).exists() for out in recorded)

    def _do(self, *words: str) -> None:
        code = self._run(*words)
        if self._stop.asked is not None:
            raise CapillaryError(
                "the reproduction was stopped",
                remedy="rerun the same command; it starts from the beginning",
                code=ExitCode(self._stop.exit_code) if self._stop.exit_code in set(ExitCode) else ExitCode.INTERRUPTED,
            )
        if code:
            raise DataError(
                f"dvc {words[0]} {words[-1]} failed",
                file=self.project.root,
                value=f"exit code {code}",
                remedy="the lines above say why; --keep keeps the folder so that you can look at it",
            )

    def _runs(self, *words: str) -> bool:
        return self._run(*words, output=subprocess.DEVNULL) == 0

    def _run(self, *words: str, output: IO[bytes] | int | None = None) -> int:
        """The exit code of DVC's command. It is asked to end as a shell asks: DVC itself does not listen to Ctrl-C."""
        if self._stop.asked is not None:
            return self._stop.exit_code
        with leash() as tie:
            process = subprocess.Popen(
                [*DVC, *words],
                cwd=self.project.root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL if output is not None else None,
                process_group=0,
            )
            tie(process.pid)
            with self._stop.passed_on(
                lambda _: signal_group(process.pid, signal.SIGINT), lambda: kill_group(process.pid), self._grace_s
            ):
                return process.wait()


def set_losses(file: Path, losses: list[str]) -> None:
    """Leave only `losses` to be evaluated; no training reads the list."""
    params = read_yaml(file)
    params["training"]["losses"] = losses
    with file.open("wb") as stream:
        YAML(typ="safe", pure=True).dump(params, stream)


def read_trained(project: Project, address: str) -> tuple[Trained, Mapping[str, Any]]:
    """What the training `address` of `project` left: its record with the params, and its card."""
    record = read_last(project, address)
    card = next(_cards(project.root, address), None)
    if record is None or card is None:
        raise DataError(
            f"{address} was trained but wrote no provenance or no card",
            remedy="its commit has a version of capillary that records neither; compare by hand (--keep)",
            file=project.root,
        )
    return Trained(record=record, params=read_yaml(project.root / PARAMS)), card


def read_last(project: Project, address: str) -> ProvenanceRecord | None:
    """The record that the last run of the stage `address` left in the store of `project`; None if there is none."""
    files = sorted(project.root.glob(f"mlruns/**/{FOLDER}/{RECORD}"), key=lambda file: file.stat().st_mtime)
    records = (read_record(file.read_bytes(), file) for file in reversed(files))
    return next((one for one in records if one.stage == address), None)


def _changed(status: Mapping[str, Any]) -> Iterator[str]:
    """The names in the answer of `dvc status`: files, params, and the command itself."""
    for entry in (each for entries in status.values() for each in entries):
        if isinstance(entry, str):
            yield entry.removeprefix("changed ")
            continue
        for name, what in entry.get("changed deps", {}).items():
            yield from what if isinstance(what, dict) else (name,)


def _cards(root: Path, address: str) -> Iterator[Mapping[str, Any]]:
    for out in _entry(root, address).get("outs", []):
        if str(out["path"]).startswith("models/"):
            yield json.loads((root / out["path"]).read_text(encoding="utf-8"))


def _entry(root: Path, address: str) -> Mapping[str, Any]:
    """What dvc.lock records of `address`; empty if it records nothing."""
    stages: Mapping[str, Any] = read_yaml(root / LOCK).get("stages") or {}
    return stages.get(address) or {}
