"""The history and the aliases of a registered model on an MLflow server."""

import time
from collections.abc import Collection

from stages.common.errors import DataError
from stages.common.registered.aliases import point, read_model
from stages.common.registered.promotion.champion import State
from stages.common.registered.promotion.comparing import Comparison, compare
from stages.common.registered.promotion.history import PREFIX, Entry, entry_json, read_entries
from stages.common.registered.refusals import explained
from stages.common.registered.trainings.reading import Trainings
from stages.common.tracking.server import RefusedError, Server


class ServerRecord:
    """One registered model; satisfies champion.Record."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self._server = server
        self._trainings = Trainings(name, server)

    def read(self) -> State:
        """The history first, then the aliases."""
        versions, aliases, newest = read_model(self.name, self._server)
        led = {alias: str(version.version) for alias, version in aliases.items()}
        numbers = {str(version.version) for version in versions}
        entries = tuple(_without_gone(entry, numbers) for entry in read_entries(versions))
        return State(entries=entries, aliases=led, newest=newest)

    def append(self, entry: Entry) -> None:
        """Write `entry` as a tag of its version."""
        server, key, text = self._server, PREFIX + entry.key, entry_json(entry)
        try:
            server.call("tag a version", lambda: server.client.set_model_version_tag(self.name, entry.to, key, text))
        except RefusedError as error:
            raise explained(error, server) from error

    def point(self, alias: str, version: str, after: int) -> None:
        """Let `alias` lead to `version`."""
        point(self.name, alias, version, self._server, after=after)

    def compare(self, one: str, other: str) -> Comparison:
        """`one` against `other`, in the metric that decides for `one`.

        A training that is not whole on the server can be compared with none: the alias stays, and a person decides.
        """
        metric = ""
        try:
            mine = self._trainings.read(one)
            metric = mine.lead.name
            return compare(mine, self._trainings.read(other), metric)
        except DataError as error:
            why_not = f"version {other if metric else one} cannot be read ({error.what})"
            return Comparison(metric=metric, volumes=0, groups=0, left_out=0, why_not=why_not[:300])

    def measured(self, version: str) -> tuple[str, float | None]:
        """The metric that decides for `version`, and its mean."""
        training = self._trainings.read(version)
        return training.lead.name, training.summary[training.lead.name].mean

    def now_ns(self) -> int:
        """The time of this machine."""
        return time.time_ns()


def _without_gone(entry: Entry, numbers: Collection[str]) -> Entry:
    """`entry` as it counts where the version that it replaced was deleted: no alias can lead there any more."""
    if entry.former is None or entry.former in numbers:
        return entry
    return entry.model_copy(update={"former": None, "better": None})
