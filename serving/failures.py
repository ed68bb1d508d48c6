"""What a client did that cannot be served: a status code, what is wrong, and what to do."""

from collections.abc import Mapping

from stages.common.text import visible


class Refusal(Exception):
    """A request that is answered with `status`; `headers` go along."""

    def __init__(self, status: int, what: str, remedy: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(what)
        self.status = status
        self.what = visible(what)[:500]
        self.remedy = visible(remedy)[:500]
        self.headers = dict(headers or {})

    def body(self) -> dict[str, dict[str, str]]:
        """As JSON shows it."""
        return {"error": {"what": self.what, "remedy": self.remedy}}
