import io
import runpy
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.parts import REPOSITORY


@pytest.fixture
def serve(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("object-store/serve.py")


@pytest.mark.parametrize(
    ("key", "secret", "said"),
    [
        ("", "long enough", "has no keys"),
        ("key", "", "has no keys"),
        ("key", "1234567", "is short"),
        ('k"y', "long enough", "quote or comma"),
        ("key", "long,enough", "quote or comma"),
        ("key", "long\nenough", "quote or comma"),
    ],
)
def test_keys_that_rclone_cannot_take_are_refused(serve: ModuleType, key: str, secret: str, said: str) -> None:
    """In one line with what to do."""
    with pytest.raises(SystemExit, match=f"error: .*{said}.*; remedy: "):
        serve.auth_key(key, secret)


def test_eight_characters_are_enough(serve: ModuleType) -> None:
    """The pair is quoted, as rclone's lists are."""
    assert serve.auth_key("k", "12345678") == '"k,12345678"'


def test_the_store_starts_with_its_buckets_and_keys(
    serve: ModuleType, became: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are on no command line, and in one variable only. A second start finds its buckets."""
    monkeypatch.setattr(serve, "DATA", tmp_path)
    for _ in range(2):
        monkeypatch.setenv("S3_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("S3_SECRET_ACCESS_KEY", "long enough")
        with pytest.raises(became) as caught:
            serve.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dvc", "mlflow"]
    assert caught.value.argv == ["rclone", "serve", "s3", "--config", "", "--addr", ":9000", str(tmp_path)]
    assert caught.value.variables["RCLONE_AUTH_KEY"] == '"key,long enough"'
    assert not {"S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"} & set(caught.value.variables)


@pytest.mark.parametrize(("status", "code"), [(400, 0), (403, 0), (499, 0), (399, 1), (500, 1)])
def test_a_store_is_well_when_it_refuses_a_stranger(monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    """Any status that says so."""
    url = "http://127.0.0.1:9000/"
    assert health(monkeypatch, urllib.error.HTTPError(url, status, "no", Message(), None)) == code


def test_a_store_that_lets_a_stranger_in_or_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container's health shows why."""
    assert "without keys" in str(health(monkeypatch, None))
    assert "refused" in str(health(monkeypatch, urllib.error.URLError("refused")))


def health(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> object:
    """What the check ends with when its request ends with `error`."""

    def answer(url: str, timeout: float) -> io.BytesIO:
        assert (url, timeout) == ("http://127.0.0.1:9000/", 4)
        if error is not None:
            raise error
        return io.BytesIO()

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(REPOSITORY / "services/object-store/healthy.py"))
    return caught.value.code
