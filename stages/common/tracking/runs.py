"""One MLflow run of one stage: opened or continued, with each point of each curve written once.

Only MlflowClient is used, never the fluent API: that one looks for a Git repository, which a stage cannot see.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from stages.common.errors import CapillaryError, ExitCode, ServiceError
from stages.common.progress import say
from stages.common.runtime import BY_HAND, Runtime
from stages.common.text import visible
from stages.common.tracking.address import EXPERIMENT, restore_command
from stages.common.tracking.server import (
    PATIENCE_S,
    RefusedError,
    Server,
    connect,
    embedded_lock,
    http_limits,
    patient_transfers,
    redact,
    settled,
)
from stages.common.tracking.system_metrics import SystemSampler

FAILURE_TAG = "capillary.failure"
START_PATIENCE_S = 12.0
STEP_PATIENCE_S = 10.0
MAX_PARAM_CHARACTERS = 500  # of MLflow 2.7, the oldest server; later ones take 6000
MAX_BATCH = 100  # of params; metrics may be more
Item = TypeVar("Item")


def open_run(
    runtime: Runtime,
    *,
    cell_tags: Mapping[str, str],
    run_name: str,
    run_id: str | None = None,
    system_metrics: bool = True,
    load_file: Path | None = None,
) -> "TrackedRun":
    """The MLflow run of this stage and fingerprint: continued when there is one that did not finish, else created.

    `cell_tags` are this cell's own, such as {"loss": "dice_ce", "fold": "0"}; they become capillary.loss and so on.
    `run_id`, from a checkpoint, wins over the search. A stage started by hand has no fingerprint, so it continues by
    `run_id` only. `load_file` collects what `system_metrics` samples, and is logged when the run finishes.
    Raises ServiceError within about 20 s when the server does not answer.
    """
    server = connect(runtime)
    experiment_id = _experiment_id(server, runtime)
    run = _run_by_id(server, run_id) if run_id else None
    if run is None:
        run = server.call("open a run", lambda: _find_or_create(server, experiment_id, runtime, cell_tags, run_name))
    if run.info.status != "RUNNING":
        server.call("continue a run", lambda: server.client.update_run(run.info.run_id, status="RUNNING"))
    if FAILURE_TAG in run.data.tags:
        _forget_failure(server, run)
    sampler = None
    interval_s, continued = runtime.monitoring.interval_s, bool(run.data.metrics)
    if system_metrics and interval_s is not None:
        sampler = SystemSampler(server, run.info.run_id, continued=continued, interval_s=interval_s, file=load_file)
    return TrackedRun(server, run, sampler)


def _experiment_id(server: Server, runtime: Runtime) -> str:
    def ask() -> str:
        known = server.client.get_experiment_by_name(EXPERIMENT)
        if known is not None and known.lifecycle_stage == "deleted":
            raise ServiceError(
                f"the MLflow experiment {EXPERIMENT} at {redact(server.uri)} is deleted",
                remedy=f"restore it: {restore_command(server.uri, known.experiment_id)}",
            )
        if known is not None:
            return str(known.experiment_id)
        try:
            return str(server.client.create_experiment(EXPERIMENT, artifact_location=runtime.artifact_root))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another cell was first
                raise
            return ask()

    with http_limits(timeout_s=6, retries=0), embedded_lock(server.uri):
        return server.call("answer", ask, START_PATIENCE_S)


def _run_by_id(server: Server, run_id: str) -> Run | None:
    try:
        run = server.call("find a run", lambda: server.client.get_run(run_id))
    except RefusedError as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        run = None
    if run is None or run.info.lifecycle_stage == "deleted":
        say(
            f"MLflow at {redact(server.uri)} does not know the checkpoint's run {run_id} any more: a new run takes over"
        )
        return None
    return run


def _forget_failure(server: Server, run: Run) -> None:
    # refused where it is gone since (an answer that was lost) and by a server that knows no deletion: no reason to stop
    with contextlib.suppress(RefusedError):
        server.call("delete a tag", lambda: server.client.delete_tag(run.info.run_id, FAILURE_TAG))


def _find_or_create(
    server: Server, experiment_id: str, runtime: Runtime, cell_tags: Mapping[str, str], run_name: str
) -> Run:
    tags = {
        "capillary.stage": runtime.stage,
        "capillary.fingerprint": runtime.fingerprint,
        **{f"capillary.{name}": visible(str(value)) for name, value in cell_tags.items()},
    }
    if runtime.fingerprint != BY_HAND:
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        unfinished = f"{wanted} and attributes.status != 'FINISHED'"
        newest = ["attributes.start_time DESC"]
        if found := server.client.search_runs([experiment_id], unfinished, max_results=1, order_by=newest):
            say(f"continuing MLflow run {found[0].info.run_id}")
            return found[0]
    tags |= {
        "capillary.data_fingerprint": runtime.data_fingerprint,
        "capillary.code_fingerprint": runtime.code_fingerprint,
    }
    if runtime.experiment_name:
        tags["capillary.experiment"] = visible(runtime.experiment_name)
    return server.client.create_run(experiment_id, tags=tags, run_name=run_name)


class TrackedRun:
    """One MLflow run. A point (key, step) is written once, however often the stage was killed and resumed.

    As a context it ends FINISHED, KILLED when the user or a signal interrupted it, or FAILED with the reason.
    """

    def __init__(self, server: Server, run: Run, sampler: SystemSampler | None) -> None:
        self.server = server
        self.run_id: str = run.info.run_id
        self._params: dict[str, str] = dict(run.data.params)
        self._steps_of: dict[str, set[int]] = {}
        self._keys_at_start = set(run.data.metrics)
        self._waiting: list[Metric] = []
        self._sampler = sampler

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if error is None:
            self.finish()
        elif isinstance(error, CapillaryError) and error.code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
            self._end_quietly("KILLED", {})
        elif isinstance(error, Exception):
            self.fail(error.what if isinstance(error, CapillaryError) else repr(error))
        else:
            self._end_quietly("KILLED", {})

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log `params` as strings; those that the run has already are left alone, with a notice if they differ."""
        texts = {key: _short(key, visible(str(value))) for key, value in params.items()}
        for key in texts.keys() & self._params.keys():
            if texts[key] != self._params[key]:
                say(f"MLflow keeps param {key} = {self._params[key]} of the run's start, now it is {texts[key]}")
        new = [Param(key, text) for key, text in texts.items() if key not in self._params]
        for batch in _batches(new):
            self.server.call("log params", partial(self.server.client.log_batch, self.run_id, params=batch))
        self._params |= {param.key: param.value for param in new}

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set `tags`, over those that the run has: what holds for the part of it that runs now."""
        entries = [RunTag(name, text) for name, text in tags.items()]
        self.server.call("tag a run", partial(self.server.client.log_batch, self.run_id, tags=entries))

    def log_artifact(self, local: Path, folder: str) -> None:
        """Upload the file `local` to `folder` of the run's artifacts, over a file of its name."""
        with settled(self.server), patient_transfers():
            log = self.server.client.log_artifact
            self.server.call("take an upload", lambda: log(self.run_id, str(local), folder))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log one point a key at `step`, unless it is there.

        A server that does not answer for STEP_PATIENCE_S does not stop a training: the points wait for the next call.
        """
        self._queue(metrics, step)
        self._send()

    def backfill(self, history: Mapping[int, Mapping[str, float]]) -> None:
        """Log those points of `history` (step → key → value, from a checkpoint) that the server does not have."""
        for step, metrics in sorted(history.items()):
            self._queue(metrics, step)
        self._send()

    def finish(self) -> None:
        """Write what waits and mark the run FINISHED. Raises ServiceError when the server does not take it."""
        self._stop_sampler()
        if self._sampler is not None:
            self._sampler.upload()
        self._flush(PATIENCE_S)
        self._set_status("FINISHED", PATIENCE_S)

    def fail(self, reason: str) -> None:
        """Mark the run FAILED and keep `reason` as a tag. Never raises: the user must see the failure itself."""
        self._end_quietly("FAILED", {FAILURE_TAG: visible(redact(reason))[:MAX_PARAM_CHARACTERS]})

    def _end_quietly(self, status: str, tags: Mapping[str, str]) -> None:
        self._stop_sampler()
        try:
            self._flush(STEP_PATIENCE_S)
            for name, text in tags.items():
                tag = partial(self.server.client.set_tag, self.run_id, name, text)
                self.server.call("tag a run", tag, STEP_PATIENCE_S)
            self._set_status(status, STEP_PATIENCE_S)
        except ServiceError as error:
            say(f"the MLflow run {self.run_id} could not be marked as {status}: {error.what}")

    def _queue(self, metrics: Mapping[str, float], step: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        for key, value in metrics.items():
            if step not in self._steps(key):
                self._steps(key).add(step)
                self._waiting.append(Metric(key, float(value), now_ms, step))

    def _send(self) -> None:
        try:
            self._flush(STEP_PATIENCE_S)
        except RefusedError:
            raise
        except ServiceError as error:
            say(f"{error.what}; {len(self._waiting)} points wait for the next step ({error.value})")

    def _steps(self, key: str) -> set[int]:
        if key not in self._steps_of:
            ask = self.server.client.get_metric_history
            there = self.server.call("list points", lambda: ask(self.run_id, key)) if key in self._keys_at_start else []
            self._steps_of[key] = {metric.step for metric in there}
        return self._steps_of[key]

    def _flush(self, patience_s: float) -> None:
        # a batch whose answer was lost is sent again with the same timestamps, which MLflow stores once
        log = self.server.client.log_batch
        while batch := self._waiting[:MAX_BATCH]:
            self.server.call("log metrics", partial(log, self.run_id, metrics=batch), patience_s)
            del self._waiting[: len(batch)]

    def _set_status(self, status: str, patience_s: float) -> None:
        end = self.server.client.set_terminated
        self.server.call("end a run", lambda: end(self.run_id, status), patience_s)

    def _stop_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()


def _short(key: str, text: str) -> str:
    if len(text) <= MAX_PARAM_CHARACTERS:
        return text
    say(f"MLflow param {key} is cut to {MAX_PARAM_CHARACTERS} of its {len(text)} characters")
    return text[:MAX_PARAM_CHARACTERS]


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH))
