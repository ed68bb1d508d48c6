"""What the checks of servers share: a server to ask, and what it answered."""

import enum
from dataclasses import dataclass
from urllib.parse import urlsplit

REFUSED = (401, 403)


class Kind(enum.StrEnum):
    """How a server is asked."""

    MLFLOW = "mlflow"
    S3 = "s3"
    HTTP = "http"
    POSTGRES = "postgresql"
    TCP = "tcp"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server to ask. `url` may hold credentials, so show `place`.

    A server that tracks runs, or keeps their files, may be missing: what it does not take waits on this disk
    (docs/tracking.md).
    """

    kind: Kind
    url: str
    tracks_runs: bool = False

    @property
    def place(self) -> str:
        """scheme://host:port, without user and password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme.split('+')[0]}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    @property
    def check_name(self) -> str:
        """As the report calls it."""
        return str(self.kind) if self.kind in (Kind.MLFLOW, Kind.S3) else f"service {urlsplit(self.url).hostname}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server said. `fault` is empty when it answered as it should; `status` is HTTP's.

    `remedy` is empty if the usual one of the server's kind fits. `ahead_s` is by how much the server's clock is
    ahead of this one; None if it tells no time. `final`: asking again would change nothing. `artifacts` is where an
    MLflow server lets its clients keep the experiment's files, empty if it does not say.
    """

    service: Service
    fault: str
    remedy: str = ""
    status: int | None = None
    ahead_s: float | None = None
    had_credentials: bool = False
    final: bool = False
    artifacts: str = ""

    @property
    def asks_for_login(self) -> bool:
        """It asks for credentials, and none were sent."""
        return self.status == 401 and not self.had_credentials
