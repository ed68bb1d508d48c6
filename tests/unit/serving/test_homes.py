"""Services that share a folder: each knows all jobs, one runs each, and jobs of one that ended continue elsewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest

from serving.jobs import homes
from serving.jobs.homes import Homes
from stages.common.errors import CapillaryError
from tests.unit.serving.conftest import Running, until

Start = Callable[..., Running]


def test_every_service_answers_for_every_job(start: Start) -> None:
    """State, list and mask; but only its own service cancels or removes a job."""
    first, second = start(), start()
    job = first.submit().json()["id"]
    first.ended(job)
    assert second.job(job)["state"] == "done"
    assert [each["id"] for each in second.client.get("/v1/jobs").json()["jobs"]] == [job]
    assert second.client.get(f"/v1/jobs/{job}/mask").content == b"mask of plain1"
    answer = second.client.delete(f"/v1/jobs/{job}")
    assert (answer.status_code, "cookies" in answer.json()["error"]["remedy"]) == (409, True)
    assert first.client.delete(f"/v1/jobs/{job}").status_code == 204
    assert second.client.get(f"/v1/jobs/{job}").status_code == 404


def test_jobs_of_a_service_that_ended_run_on_another(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that ran, those that waited, and the mask of the one that was done."""
    monkeypatch.setattr("serving.jobs.queue.SWEEP_S", 0.05)
    first, second = start(), start()
    gate = first.alias.with_name("gate")
    done = first.submit().json()["id"]
    first.ended(done)
    left = [first.submit(f"wait {gate}".encode()).json()["id"] for _ in range(3)]
    until(lambda: first.job(left[0])["state"] == "running")
    first.stop()
    gate.touch()
    assert [second.ended(each)["state"] for each in (*left, done)] == ["done"] * 4
    assert second.client.get(f"/v1/jobs/{done}/mask").content == b"mask of plain1"
    assert all(second.service.queue.store.owns(each) for each in (*left, done))


def test_a_folder_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that finds no home says so; a home that was left is the next one's."""
    monkeypatch.setattr(homes, "MOST", 2)
    taken = [Homes(tmp_path), Homes(tmp_path)]
    assert [each.own for each in taken] == [tmp_path, tmp_path / "more" / "01"]
    with pytest.raises(CapillaryError, match="2 services already use this folder"):
        Homes(tmp_path)
    taken[1].close()
    assert list(taken[0].abandoned()) == [tmp_path / "more" / "01"]
    assert Homes(tmp_path).own == tmp_path / "more" / "01"
