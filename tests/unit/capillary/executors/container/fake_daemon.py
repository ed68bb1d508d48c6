"""A daemon's answers without a daemon."""

from collections.abc import Callable
from typing import Any

from docker.errors import APIError
from requests import Response


class Daemon:
    """Takes any call that docker.APIClient takes, answers as told, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.asked.append((name, args, more))
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer(*args, **more) if callable(answer) else answer

        return call

    @property
    def names(self) -> list[str]:
        """What was asked for, in order."""
        return [name for name, _, _ in self.asked]

    def calls(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments of each call of `name`."""
        return [(args, more) for each, args, more in self.asked if each == name]


def refusal(status: int, explanation: str = "no", kind: type[APIError] = APIError) -> APIError:
    """The daemon's answer with an error."""
    response = Response()
    response.status_code = status
    return kind("refused", response, explanation)
