"""What the routes share: one value with the parts of the service."""

from dataclasses import dataclass

from starlette.requests import Request

from serving.access.tokens import Tokens
from serving.figures import Figures
from serving.jobs.queue import Queue
from serving.models.keeper import Models
from serving.settings import ServeSettings


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts, as __main__ put them together."""

    settings: ServeSettings
    tokens: Tokens
    queue: Queue
    models: Models
    figures: Figures

    def owner(self, request: Request) -> str:
        """Who calls, by the token's fingerprint; raises Refusal (401)."""
        return self.tokens.owner(request.headers.get("authorization"))


def service_of(request: Request) -> Service:
    """The service that answers `request`."""
    service: Service = request.app.state.service
    return service
