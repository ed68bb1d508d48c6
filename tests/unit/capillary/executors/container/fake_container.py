"""A daemon that runs one container: a function in a thread, on the far end of the launcher's connection."""

import json
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from capillary.executors.container import execute as executing
from capillary.executors.container.execute import ContainerExecutor
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan
from capillary.settings import read_settings
from tests.support.orders import change_plan
from tests.unit.capillary.executors.container.fake_daemon import Daemon, refusal

Program = Callable[["Container"], int | None]


class Container:
    """What a program in the container sees, and its connection to the launcher."""

    def __init__(self, body: dict[str, Any], connection: socket.socket) -> None:
        self.body = body
        self.lines = connection.makefile("r")
        self._connection = connection

    def folder(self, name: str) -> Path:
        """The folder of the machine that is mounted at a folder of the working folder."""
        target = f"{self.body['WorkingDir']}/{name}"
        return next(Path(mount["Source"]) for mount in self.body["HostConfig"]["Mounts"] if mount["Target"] == target)

    def start_line(self) -> dict[str, Any]:
        """The launcher's first line."""
        order: dict[str, Any] = json.loads(self.lines.readline())
        return order

    def say(self, stream: int, text: str) -> None:
        """Print on stdout (1) or stderr (2)."""
        self._connection.sendall(struct.pack(">BxxxL", stream, len(text)) + text.encode())

    def close(self) -> None:
        """The end of all streams."""
        self.lines.close()
        self._connection.close()


class ContainerDaemon(Daemon):
    """Its one container runs `program`, whose result is the exit code; None: the daemon does not tell it any more."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.bodies: list[dict[str, Any]] = []
        self.containers_made: list[str] = []
        self.events_told: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.answers |= {
            "info": {},
            "version": {"Arch": "arm64"},
            "inspect_container": refusal(404, kind=NotFound),
            "containers": [],
            "create_container_from_config": self._create,
            "attach_socket": lambda *_: self.near,
            "events": lambda **_: self._events(),
            "start": self._start,
        }
        self.near, self._far = socket.socketpair()
        self.near.settimeout(60)  # as docker's client leaves it

    def _create(self, body: dict[str, Any], name: str) -> dict[str, str]:
        self.bodies.append(body)
        self.containers_made.append(name)
        return {"Id": "c0ffee"}

    def _events(self) -> Iterator[dict[str, Any]]:
        return iter(self.events_told.get, None)

    def _start(self, _container: str) -> None:
        threading.Thread(target=self._run, args=(Container(self.bodies[-1], self._far),), daemon=True).start()

    def _run(self, container: Container) -> None:
        code = self.program(container)
        container.close()
        died = {"Action": "die", "Actor": {"Attributes": {"exitCode": str(code)}}}
        self.events_told.put(None if code is None else died)


def finish(container: Container) -> int:
    """Make the out, print, and end well."""
    (container.folder("data") / "out").write_text("made")
    container.say(1, "on stdout\n")
    container.say(2, "on stderr\n")
    return 0


def work(container: Container) -> int:
    """A stage that ends well."""
    container.start_line()
    return finish(container)


class Run:
    """One plan, executed on a daemon whose container runs `program`."""

    def __init__(self, plan: StagePlan, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan = plan
        self.published: list[str] = []
        self.daemon = ContainerDaemon(work)
        monkeypatch.setattr(executing, "connect", lambda *_: self.daemon)

    def __call__(self, program: Program = work, stop: Stop | None = None, **variables: str) -> int:
        self.daemon.program = program
        executor = ContainerExecutor(read_settings(self.plan.repository, variables))
        self.identity = executor.environment_id(self.plan.root, self.plan.stage, self.plan.access)
        return executor.execute(self.plan, stop or Stop(), self._publish)

    def _publish(self, work: Path) -> None:
        self.published.append((work / "data/out").read_text())

    def change(self, **changes: object) -> None:
        self.plan = change_plan(self.plan, **changes)

    def allow(self, **changes: object) -> None:
        self.change(access=self.plan.access.model_copy(update=changes))

    @property
    def left(self) -> list[Path]:
        return list((self.plan.repository / ".capillary/sandbox").iterdir())
