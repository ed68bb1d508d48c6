"""The model behind the alias: watched, replaced without a gap, brought back, never replaced by a broken one."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from unittest.mock import AsyncMock

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.figures import Figures
from serving.models import process
from serving.models.keeper import Models
from serving.models.process import Worker
from stages.common.errors import DataError, ServiceError
from tests.unit.serving.conftest import ADMIN, Running, until

Start = Callable[..., Running]


def _version(running: Running) -> str:
    served = running.service.models.served
    return served.version if served else ""


def _go_back(running: Running, token: str = ADMIN) -> httpx.Response:
    return httpx.post(
        f"{running.url}/v1/models/previous", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )


def test_a_job_ends_on_the_model_that_began_it(start: Start) -> None:
    """The alias moves in the middle of a job: that job is version 1's, the next one version 2's."""
    running = start()
    gate = running.alias.with_name("gate")
    first = running.submit(f"wait {gate}".encode()).json()["id"]
    until(lambda: running.job(first)["progress"] == 0.5)
    running.alias.write_text("vessels/2")
    until(lambda: _version(running) == "2")
    second = running.submit().json()["id"]
    gate.touch()
    assert [running.ended(each)["model"]["version"] for each in (first, second)] == ["1", "2"]
    assert running.client.get(f"/v1/jobs/{first}/mask").headers["X-Model-Version"] == "1"
    assert running.client.get("/healthz").headers["X-Model-Version"] == "2"


def test_a_model_that_fails_its_self_test_never_answers(start: Start) -> None:
    running = start()
    running.alias.write_text("vessels/broken")
    until(lambda: running.service.models.failure == "the self-test failed")
    assert _version(running) == "1"
    assert running.client.get("/readyz").status_code == 200
    running.alias.write_text("vessels/3")
    until(lambda: _version(running) == "3")


def test_the_previous_model_is_one_call_away_until_the_alias_moves_on(start: Start) -> None:
    running = start()
    assert _go_back(running).status_code == 409  # nothing answered before
    running.alias.write_text("vessels/2")
    until(lambda: _version(running) == "2")
    assert _go_back(running).json()["current"]["versions"] == ["1"]
    before = running.service.models
    assert running.ended(running.submit().json()["id"])["model"]["version"] == "1"
    assert before.previous == "vessels/2"
    running.alias.write_text("vessels/3")
    until(lambda: _version(running) == "3")


def test_only_an_admin_token_changes_the_model(start: Start) -> None:
    running = start()
    assert _go_back(running, "first-token-of-a-test").status_code == 403
    assert _go_back(running, "nobody's-token-at-all").status_code == 401


def test_metadata_names_the_model_that_answers(start: Start) -> None:
    running = start()
    model = running.client.get("/v2/models/vessels").json()
    assert (model["name"], model["versions"], len(model["parameters"]["weights_sha256"])) == ("vessels", ["1"], 64)
    assert running.client.get("/v2/models/vessels/versions/1/ready").status_code == 200
    assert running.client.get("/v2/models/vessels/versions/2").status_code == 404
    assert running.client.get("/v2/models/other").status_code == 404
    assert running.client.get("/v2").json()["name"] == "capillary"
    assert running.client.get("/v1/models").json()["previous"] is None
    for path in ("/v2/health/live", "/v2/health/ready", "/healthz", "/readyz"):
        assert running.client.get(path).status_code == 200


def test_without_a_model_the_service_lives_but_is_not_ready(start: Start) -> None:
    """Jobs wait until a model answers; the reason is said."""
    running = start(alias="vessels/broken")
    until(lambda: "self-test" in running.client.get("/readyz").json()["reason"])
    assert running.client.get("/readyz").status_code == 503
    assert running.client.get("/healthz").status_code == 200
    job = running.submit().json()["id"]
    running.alias.write_text("vessels/1")
    assert running.ended(job)["state"] == "done"


def test_a_reason_is_logged_once_and_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is tried again every few seconds, which fills no log with one line."""
    lines: list[str] = []
    monkeypatch.setattr("serving.models.keeper.log.warning", lines.append)
    models = Models("vessels@champion", {}, Figures())
    no_card, no_server = DataError("no card", remedy="train one"), DataError("no server", remedy="start it")
    attempts = AsyncMock(side_effect=[no_card, no_card, no_server, no_card, asyncio.CancelledError])
    monkeypatch.setattr(models, "_follow", attempts)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(models.watch(0.001))
    assert lines == [
        "model: no card; remedy: train one",
        "model: no server; remedy: start it",
        "model: no card; remedy: train one",
    ]
    assert models.failure == "no card"


def test_a_lost_process_is_started_again_on_what_answered_before(start: Start) -> None:
    """Even if the alias leads to a broken model by then."""
    running = start()
    running.alias.write_text("vessels/broken")
    until(lambda: running.service.models.failure == "the self-test failed")
    lost, good = running.submit(b"die"), running.submit()
    assert running.ended(lost.json()["id"])["state"] == "failed"
    assert running.ended(good.json()["id"])["model"]["version"] == "1"


def test_figures_count_what_happened(start: Start) -> None:
    running = start()
    running.ended(running.submit().json()["id"])
    running.ended(running.submit(b"bad").json()["id"])
    text = httpx.get(f"{running.url}/metrics", trust_env=False).text
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["capillary_jobs_accepted_total",] == 2
    assert (values["capillary_jobs_ended_total", "done"], values["capillary_jobs_ended_total", "failed"]) == (1, 1)
    assert values["capillary_http_answers_total", "/v1/jobs", "202"] == 2
    assert values["capillary_jobs_waiting",] == 0
    assert "mask" not in text


def test_the_watch_ends_also_when_its_process_is_lost_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """At SIGTERM both come together: the stack's process is ended, and the watch is cancelled."""

    async def watched(steps: int) -> bool:
        models = Models("x", {}, Figures())
        monkeypatch.setattr(models, "_follow", AsyncMock())
        watch = asyncio.create_task(models.watch(0.1))
        await asyncio.sleep(0.05)
        models._lost.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        watch.cancel()
        ended, _ = await asyncio.wait({watch}, timeout=2)
        return bool(ended)

    assert [asyncio.run(watched(steps)) for steps in range(4)] == [True] * 4


def test_an_alias_that_comes_back_to_the_version_that_was_left_is_followed(start: Start) -> None:
    """Left by hand at 2; the alias moves to 3 and then to 2 again: it has moved, so 2 answers."""
    running = start()
    for version in ("2", "3", "2"):
        running.alias.write_text(f"vessels/{version}")
        until(lambda: _version(running) == version)  # noqa: B023
        if version == "2" and running.service.models.previous == "vessels/1":
            assert _go_back(running).json()["current"]["versions"] == ["1"]


def test_why_a_model_was_refused_is_said_as_long_as_the_alias_leads_to_it(start: Start) -> None:
    running = start()
    running.alias.write_text("vessels/broken")
    until(lambda: running.service.models.failure == "the self-test failed")
    time.sleep(0.5)  # several looks at the alias
    assert running.client.get("/v1/models").json()["failure"] == "the self-test failed"
    running.alias.write_text("vessels/1")
    until(lambda: running.service.models.failure is None)


def test_a_lost_process_whose_version_is_gone_makes_room_for_what_the_alias_leads_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def swap(reference: str) -> None:
        asked.append(reference)
        if reference == "vessels/1":
            raise DataError("the registry has no model vessels/1", remedy="promote another")

    async def follow() -> None:
        models = Models("vessels@champion", {}, Figures())
        models._pinned = "vessels/1"
        monkeypatch.setattr(models, "_swap_to", swap)
        await models._follow()

    asyncio.run(follow())
    assert asked == ["vessels/1", "vessels@champion"]


SLOW = """
import json, sys

served = {"name": "vessels", "version": "1", "weights_sha256": "0" * 64}
print(json.dumps({"ready": served, "pinned": "vessels/1"}), flush=True)
for ask in [json.loads(sys.stdin.readline()) for _ in range(2)]:
    print(json.dumps({"number": ask["number"], "resolved": ask["reference"]}), flush=True)
sys.stdin.read()
"""


def test_an_answer_that_comes_too_late_is_none_to_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage of the registry, an old answer could bring back the model that somebody has just left."""

    async def ask() -> str:
        worker = await Worker.start("vessels@champion", (sys.executable, "-c", SLOW), os.environ)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(process, "RESOLVE_S", 0.05)
                with pytest.raises(ServiceError, match="did not answer within"):
                    await worker.resolve("vessels/1")
            return await worker.resolve("vessels/2")
        finally:
            await worker.end()

    assert asyncio.run(ask()) == "vessels/2"
