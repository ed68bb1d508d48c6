"""A service on a free port of loopback, with a stand-in for the worker."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.__main__ import Server
from serving.access.tokens import hashed
from serving.figures import Figures
from serving.jobs.homes import Homes
from serving.jobs.queue import Queue
from serving.jobs.store import JobStore
from serving.models.keeper import Models
from serving.service import Service
from serving.settings import ServeSettings

WORKER = Path(__file__).resolve().parents[2] / "support" / "serving" / "stand_in_worker.py"
TOKEN, OTHER, ADMIN = "first-token-of-a-test", "second-token-of-a-test", "admin-token-of-a-test"


class Running:
    """A service that listens, and a client with the first token."""

    def __init__(self, folder: Path, alias: str = "vessels/1", **settings: Any) -> None:
        self.alias = folder / "alias"
        if not self.alias.exists():
            self.alias.write_text(alias)
        given = {"folder": folder / "serve", "port": 0, "watch_s": 0.05, "grace_s": 1.0, "idle_s": 2.0, **settings}
        tokens = given.pop("tokens", (TOKEN, OTHER))
        self.settings = ServeSettings(_env_file=None, **given)  # type: ignore[call-arg]  # pydantic-settings takes it
        figures = Figures()
        argv = (sys.executable, "-S", str(WORKER))
        models = Models(str(self.alias), {"PATH": ""}, figures, argv=argv)
        self.homes = Homes(self.settings.folder)
        queue = Queue(
            JobStore(self.homes.own, self.homes),
            models,
            figures,
            most=self.settings.queue,
            per_owner=self.settings.jobs_per_token,
        )
        figures.watch_queue(queue.length)
        admin = (ADMIN,) if tokens else ()
        self.service = Service(
            settings=self.settings, tokens=hashed(tokens, admin), queue=queue, models=models, figures=figures
        )
        self.server = Server(self.service)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        until(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        headers = {"Authorization": f"Bearer {TOKEN}"} if tokens else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=10, trust_env=False)
        until(lambda: self.client.get("/readyz").status_code == 200 or not alias.startswith("vessels/1"))

    def submit(self, text: bytes = b"plain", name: str = "a.tif", **fields: str) -> httpx.Response:
        return self.client.post("/v1/jobs", files={"stack": (name, text)}, data=fields)

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it ended."""
        until(lambda: self.job(job_id)["state"] in ("done", "failed", "cancelled"))
        return self.job(job_id)

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return answer

    def stop(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.homes.close()
        assert not self.thread.is_alive()


def until(holds: Callable[[], bool]) -> None:
    """Wait for an event that has no other sign; a test's own time limit ends what never comes."""
    while not holds():
        time.sleep(0.01)


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Running]]:
    """Start services in `folder`; they end with the block."""
    with contextlib.ExitStack() as ends:

        def begin(**settings: Any) -> Running:
            running = Running(folder, **settings)
            ends.callback(lambda: running.thread.is_alive() and running.stop())
            return running

        yield begin


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start services in this test's folder; they end with it."""
    with starting(tmp_path) as begin:
        yield begin
