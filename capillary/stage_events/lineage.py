"""OpenLineage's events from a StageRun. Imported only where lineage is on: the client takes more than half a second."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import dataset_version_dataset, error_message_run, source_code_location_job
from openlineage.client.uuid import generate_new_uuid

from capillary.stage_events.lineage_sink import sink_of
from capillary.stage_events.project import address_of, commit_of
from capillary.stage_events.stage_run import StageRun, ending_of
from stages.common.text import without_login

PRODUCER = "https://pypi.org/project/capillary"
FACET = "capillary_run"
_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"


class Catalogue:
    """What takes the events of one run: a file, or a server such as Marquez with its `key`, empty for none."""

    def __init__(self, run: StageRun, address: str, key: str) -> None:
        self._events, self._sink = Events(run), sink_of(address, key, run.root)

    def start(self, at: datetime) -> None:
        """START."""
        self._sink.emit(self._events.start(at))

    def beat(self, at: datetime) -> None:
        """A catalogue wants the two ends alone."""

    def end(self, code: int, at: datetime) -> None:
        """COMPLETE, FAIL or ABORT."""
        self._sink.emit(self._events.end(ending_of(code), code, at))


class Events:
    """The events of one run, which share its id."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._id = str(generate_new_uuid())
        self._commit, self._url = commit_of(run.root), address_of(run.root)

    def start(self, at: datetime) -> RunEvent:
        """The stage begins."""
        return self._event("START", at)

    def end(self, ending: str, code: int, at: datetime) -> RunEvent:
        """It ended, with an exit code."""
        return self._event(ending, at, code)

    def _event(self, kind: str, at: datetime, code: int | None = None) -> RunEvent:
        namespace = self.namespace
        facets: dict[str, Any] = {FACET: self._facet()}
        if code:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=f"{self._run.address} ended with the exit code {code}", programmingLanguage="python"
            )
        return RunEvent(
            eventType=RunState(kind),
            eventTime=at.astimezone(UTC).isoformat(),
            run=Run(runId=self._id, facets=facets),
            job=Job(namespace=namespace, name=self._run.address, facets=self._job_facets()),
            producer=PRODUCER,
            inputs=[_input(name, value, namespace) for name, value in self._run.inputs.items()],
            outputs=[_output(name, namespace) for name in self._run.outputs],
        )

    @property
    def namespace(self) -> str:
        """The project."""
        return f"dvc:{self._url or self._run.root.name}"

    def _facet(self) -> dict[str, Any]:
        """Of our own, so it names its producer and the form that it keeps to."""
        run = self._run
        return {
            "_producer": PRODUCER,
            "_schemaURL": _SCHEMA,
            "params": _without_logins(run.params),
            "fingerprint": run.fingerprint,
            "commit": self._commit,
            "experiment": run.experiment or "",
        }

    def _job_facets(self) -> dict[str, Any]:
        if not self._url:
            return {}
        source = source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=self._url, path="dvc.yaml", version=self._commit or None
        )
        return {"sourceCodeLocation": source}


def _without_logins(value: Any) -> Any:
    """`value`, in which no URL has a login or a query, which may hold a signature: a catalogue is read by others."""
    if isinstance(value, str):
        return without_login(value).partition("?")[0] if "://" in value else value
    if isinstance(value, Mapping):
        return {name: _without_logins(each) for name, each in value.items()}
    return [_without_logins(each) for each in value] if isinstance(value, list | tuple) else value


def _input(name: str, value: str, namespace: str) -> InputDataset:
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=value)
    place, path = _place(name, namespace)
    return InputDataset(namespace=place, name=path, facets={"version": version})


def _output(name: str, namespace: str) -> OutputDataset:
    place, path = _place(name, namespace)
    return OutputDataset(namespace=place, name=path)


def _place(name: str, project: str) -> tuple[str, str]:
    """Namespace and name: a source by its own server or bucket, a file of the project by its path there."""
    parts = urlsplit(without_login(name))
    if "://" not in name:
        return project, name
    return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/") or "/"
