"""python -m serving: read the settings, put the parts together, listen."""

import asyncio
import ipaddress
import logging
import os
import socket

import uvicorn
from pydantic import ValidationError

from serving.access.tokens import LEAST_CHARACTERS, Tokens, count_short, hashed
from serving.app import create_app
from serving.figures import Figures
from serving.jobs.homes import Homes
from serving.jobs.queue import Queue
from serving.jobs.store import JobStore
from serving.models.keeper import Models
from serving.service import Service
from serving.settings import THREADS, ServeSettings, listed
from stages.common.errors import UsageError
from stages.common.program.ending import run_main
from stages.common.program.messages import LOG_FORMAT, LOG_LEVEL, get_logger, print_messages

log = get_logger(__name__)
get_logger("uvicorn").setLevel(logging.WARNING)

SECRETS = ("CAPILLARY_SERVE_TOKENS", "CAPILLARY_SERVE_ADMIN_TOKENS", "CAPILLARY_SERVE_URLS")


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    settings = read_settings()
    print_messages(settings.log_level, settings.log_format)
    service = build_service(settings)
    log.info(f"listening on http://{settings.host}:{settings.port}" + (", open" if service.tokens.is_open else ""))
    Server(service).run()


class Server(uvicorn.Server):
    """Drains while it waits for the answers that are on their way: one after the other takes twice the grace period."""

    def __init__(self, service: Service) -> None:
        super().__init__(listening(service))
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End within the grace period."""
        drained = self._service.queue.drain(self._service.settings.grace_s)
        await asyncio.gather(drained, super().shutdown(sockets))


def listening(service: Service) -> uvicorn.Config:
    """Where and how the service listens."""
    settings = service.settings
    return uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=settings.port,
        log_config=None,  # its warnings are printed as the service's own messages
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace_s) + 1,
        limit_concurrency=512,
        h11_max_incomplete_event_size=64 * 1024,
    )


def read_settings() -> ServeSettings:
    """The settings; raises CapillaryError (usage) for one that cannot be."""
    try:
        return ServeSettings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}", remedy="correct it in the environment or .env") from None


def build_service(settings: ServeSettings) -> Service:
    """The parts, put together. The tokens leave the environment: no other process of the service needs them."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
    if settings.threads is not None:
        environment[THREADS] = str(settings.threads)
    environment |= {LOG_LEVEL: settings.log_level, LOG_FORMAT: settings.log_format}
    figures = Figures()
    models = Models(settings.model, environment, figures)
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    homes = Homes(settings.folder)
    store = JobStore(homes.own, homes)
    queue = Queue(store, models, figures, most=settings.queue, per_owner=settings.jobs_per_token)
    figures.watch_queue(queue.length)
    return Service(settings=settings, tokens=_tokens(settings), queue=queue, models=models, figures=figures)


def _tokens(settings: ServeSettings) -> Tokens:
    users, admins = listed(settings.tokens), listed(settings.admin_tokens)
    if short := count_short((*users, *admins)):
        log.warning(
            f"{short} of the tokens have fewer than {LEAST_CHARACTERS} characters and can be guessed; "
            "make one with `openssl rand -hex 32`"
        )
    tokens = hashed(users, admins)
    if tokens.is_open and not settings.open_access and not _is_loopback(settings.host):
        raise UsageError(
            f"{settings.host} can be reached from other machines without a token",
            remedy="set CAPILLARY_SERVE_TOKENS, or SERVE_HOST=127.0.0.1",
        )
    return tokens


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    run_main(main)
