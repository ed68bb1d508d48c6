"""What is listed of a registry, without one."""

from types import SimpleNamespace
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.store.entities import PagedList

from stages.common.tracking.server import Server
from stages.models.showing import list_models

NAMES = [f"capillary-{number:03d}" for number in range(250)]


class Paged:
    """A registry of many models, which gives a page of them at a time, as MLflow does."""

    def search_registered_models(self, _filter: str, page_token: str | None = None) -> PagedList[Any]:
        start = int(page_token or 0)
        page = [SimpleNamespace(name=name) for name in NAMES[start : start + 100]]
        return PagedList(page, str(start + 100) if start + 100 < len(NAMES) else None)

    def search_model_versions(self, wanted: str, page_token: str | None = None) -> PagedList[ModelVersion]:
        assert page_token is None
        return PagedList([ModelVersion(name=wanted.split("'")[1], version="1", creation_timestamp=0)], None)

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(name=name, aliases={})


def test_every_model_is_listed_however_many_there_are() -> None:
    """A server's first page has 100; the others are asked for."""
    answer = list_models(["capillary-default"], Server(client=Paged(), uri="http://h:1"))
    assert [model["name"] for model in answer["models"]] == ["capillary-default", *NAMES]
