"""Spools of tests, and destinations that are fakes."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages.common.tracking.server import Server
from stages.common.tracking.spool.destination import Destination
from stages.common.tracking.spool.opening import RunRequest, open_spool
from stages.common.tracking.spool.writing import Writer
from tests.support.tracking.mlflow_fake import FakeMlflow

URI = "http://u:p@h:1"


def wanted(**changes: Any) -> RunRequest:
    """What train asks for."""
    usual = {"stage": "train@a-0", "fingerprint": "f", "tags": {}, "run_name": "a-0", **changes}
    identity = {"capillary.stage": usual["stage"], "capillary.fingerprint": usual["fingerprint"]}
    return RunRequest(identity=identity, **usual)


def write(outbox: Path, added: Callable[[], None] = lambda: None, **changes: Any) -> Writer:
    """The writer of the spool that a stage gets."""
    spool, lock = open_spool(outbox, wanted(**changes), now_ms=1000)
    return Writer(spool, lock, added)


def fill(writer: Writer) -> None:
    """A short training: three epochs, a file, a network."""
    writer.add_params({"rate": "0.1", "loss": "a"})
    for step in range(3):
        writer.add_points({"loss": 1.0 / (step + 1), "seconds": 2.0}, step, 1000 + step)
    file = writer.spool.folder.parent.parent / "system.csv"
    file.write_text("a\n1\n")
    writer.add_file(file, "system")
    writer.add_publication("network", {"weights": b"w"})
    writer.add_status("FINISHED")


POINTS = sorted(
    [*(("loss", step, 1.0 / (step + 1)) for step in range(3)), *(("seconds", step, 2.0) for step in range(3))]
)


class Registry:
    """A publisher that makes one version of equal content, as those of publishing.py do."""

    def __init__(self) -> None:
        self.calls = 0
        self.versions: list[bytes] = []

    def __call__(self, _server: Server, _run_id: str, folder: Path) -> Any:
        self.calls += 1
        content = (folder / "weights").read_bytes()
        if content not in self.versions:
            self.versions.append(content)
        number = str(self.versions.index(content) + 1)
        return SimpleNamespace(fingerprint="f", name="capillary-a", version=number, weights_sha256="0" * 64)


def to(fake: FakeMlflow, outbox: Path, registry: Any = None) -> Destination:
    """`fake` as a server."""
    server = Server(client=fake, uri=URI)  # type: ignore[arg-type]
    receipts = outbox.parent / "receipts"
    publishers = {"network": registry or Registry()}
    return Destination(server=server, artifact_root=None, receipts=receipts, publishers=publishers)
