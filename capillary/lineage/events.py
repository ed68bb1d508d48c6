"""OpenLineage's events from a StageRun. Imported only where lineage is on: the client takes more than half a second."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import dataset_version_dataset, error_message_run, source_code_location_job
from openlineage.client.uuid import generate_new_uuid

from capillary.lineage.stage_run import StageRun
from stages.common.tracking.address import without_login

PRODUCER = "https://pypi.org/project/capillary"
FACET = "capillary_run"
_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"
_GIT_TIMEOUT_S = 2


class Events:
    """The events of one run, which share its id."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._id = str(generate_new_uuid())
        self._commit = _git(run.root, "rev-parse", "HEAD")
        self._url = shared_address(_git(run.root, "config", "--get", "remote.origin.url"))

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
            outputs=[OutputDataset(**_named(name, namespace)) for name in self._run.outputs],
        )

    @property
    def namespace(self) -> str:
        """The project: by its address at its Git host, so that all clones mean the same; else by its folder."""
        return f"dvc:{self._url or self._run.root.name}"

    def _facet(self) -> dict[str, Any]:
        """Of our own, so it names its producer and the form that it keeps to."""
        run = self._run
        return {
            "_producer": PRODUCER,
            "_schemaURL": _SCHEMA,
            "params": run.params,
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


def shared_address(url: str) -> str:
    """A repository's address as a URI without a login; empty for a folder of this machine, which others do not have."""
    host, colon, path = url.partition(":")
    if "://" not in url and colon and "/" not in host:  # git@host:alice/vessels.git
        return f"ssh://{host.rpartition('@')[2]}/{path}"
    return without_login(url) if "://" in url and not url.startswith("file:") else ""


def _input(name: str, value: str, namespace: str) -> InputDataset:
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=value)
    return InputDataset(**_named(name, namespace), facets={"version": version})


def _named(name: str, project: str) -> dict[str, str]:
    """A source by its own server or bucket, a file of the project by its path there."""
    parts = urlsplit(without_login(name))
    if "://" not in name:
        return {"namespace": project, "name": name}
    return {"namespace": f"{parts.scheme}://{parts.netloc}", "name": parts.path.lstrip("/") or "/"}


def _git(root: Path, *words: str) -> str:
    """What Git says; nothing if there is no repository, or no Git."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=root, check=False, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
