"""Jobs over HTTP: accepted, run, fetched, kept over a restart, owned by a token, bounded in number."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serving.figures import Figures
from serving.jobs.queue import Queue
from serving.jobs.record import Job, Request, Result, Served, State
from serving.jobs.store import JobStore
from tests.unit.serving.conftest import OTHER, TOKEN, Running, until

Start = Callable[..., Running]


def test_a_job_runs_from_submission_to_mask(start: Start) -> None:
    """202 with an id, 409 while it runs, then the mask with the model's version and hash."""
    running = start()
    gate = running.alias.with_name("gate")
    answer = running.submit(f"wait {gate}".encode(), "mouse 1.ome.tif", spacing_um="5,1,1")
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/jobs/{answer.json()['id']}")
    path = f"/v1/jobs/{answer.json()['id']}"
    until(lambda: running.client.get(path).json()["progress"] == 0.5)
    assert running.client.get(f"{path}/mask").status_code == 409
    gate.touch()
    job = running.ended(answer.json()["id"])
    assert (job["state"], job["model"]["version"], job["result"]["vessel_share"]) == ("done", "1", 0.5)
    assert job["links"] == {"mask": f"{path}/mask"}
    mask = running.client.get(f"{path}/mask")
    assert mask.content == f"mask of wait {gate}1".encode()
    assert mask.headers["X-Model-Version"] == "1"
    assert mask.headers["X-Weights-SHA256"] == job["model"]["weights_sha256"]
    assert 'filename="mouse%201_mask.tif"' in mask.headers["Content-Disposition"] or "mouse 1_mask.tif" in (
        mask.headers["Content-Disposition"].replace("%20", " ")
    )
    assert running.client.get(f"{path}/probability").status_code == 404


def test_a_small_stack_is_answered_at_once(start: Start) -> None:
    running = start(at_once_mb=0.01)
    answer = running.client.post("/v1/segment", files={"stack": ("a.nii.gz", b"plain")}, data={"format": ".nii.gz"})
    assert (answer.status_code, answer.content) == (200, b"mask of plain1")
    refused = running.client.post("/v1/segment", files={"stack": ("a.tif", b"x" * 20_000)})
    assert (refused.status_code, refused.json()["error"]["remedy"]) == (
        413,
        "send it to /v1/jobs, or raise CAPILLARY_SERVE_AT_ONCE_MB",
    )


def test_one_that_takes_longer_than_a_client_waits_becomes_a_job(start: Start) -> None:
    running = start(at_once_s=0.05)
    gate = running.alias.with_name("gate")
    answer = running.client.post("/v1/segment", files={"stack": ("a.tif", f"wait {gate}".encode())})
    assert answer.status_code == 202
    gate.touch()
    assert running.ended(answer.json()["id"])["state"] == "done"


def test_a_bad_stack_fails_with_its_reason_and_the_next_one_runs(start: Start) -> None:
    running = start()
    bad, good = running.submit(b"bad"), running.submit()
    job = running.ended(bad.json()["id"])
    assert (job["state"], job["failure"]) == ("failed", {"what": "this is no stack", "remedy": "send another"})
    assert running.client.get(f"/v1/jobs/{job['id']}/mask").status_code == 409
    assert running.ended(good.json()["id"])["state"] == "done"
    answer = running.client.post("/v1/segment", files={"stack": ("a.tif", b"bad")})
    assert (answer.status_code, answer.json()["error"]["what"]) == (422, "this is no stack")


def test_a_stack_that_ends_its_process_is_tried_three_times_then_failed(start: Start) -> None:
    running = start()
    lost, good = running.submit(b"die"), running.submit()
    job = running.ended(lost.json()["id"])
    assert job["state"] == "failed"
    assert "died 3 times" in job["failure"]["what"]
    assert running.ended(good.json()["id"])["state"] == "done"


def test_a_restart_loses_no_accepted_job(start: Start) -> None:
    """The running one begins again, the waiting ones wait, the finished one keeps its mask."""
    first = start()
    gate = first.alias.with_name("gate")
    done = first.submit().json()["id"]
    first.ended(done)
    stuck = first.submit(f"wait {gate}".encode()).json()["id"]
    waiting = [first.submit().json()["id"] for _ in range(3)]
    until(lambda: first.job(stuck)["state"] == "running")
    first.stop()
    gate.touch()
    second = start()
    assert [second.ended(each)["state"] for each in (done, stuck, *waiting)] == ["done"] * 5
    assert second.client.get(f"/v1/jobs/{done}/mask").content == b"mask of plain1"


def test_a_cancelled_job_ends_and_the_service_goes_on(start: Start) -> None:
    running = start()
    stuck = running.submit(b"wait /nowhere").json()["id"]
    waiting = running.submit(b"wait /nowhere").json()["id"]
    last = running.submit().json()["id"]
    until(lambda: running.job(stuck)["state"] == "running")
    for each in (waiting, stuck):
        assert running.client.delete(f"/v1/jobs/{each}").json()["state"] == "cancelled"
    assert running.ended(last)["state"] == "done"
    assert running.client.delete(f"/v1/jobs/{stuck}").status_code == 204
    assert running.client.get(f"/v1/jobs/{stuck}").status_code == 404


def test_a_full_queue_answers_429_with_the_time_to_wait(start: Start) -> None:
    running = start(queue=3, jobs_per_token=2)
    running_one = running.submit(b"wait /nowhere").json()["id"]
    until(lambda: running.job(running_one)["state"] == "running")
    assert [running.submit().status_code for _ in range(3)] == [202, 202, 429]
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {OTHER}"}, trust_env=False) as other:
        answers = [other.post("/v1/jobs", files={"stack": ("a.tif", b"plain")}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 429]
    assert int(answers[1].headers["Retry-After"]) >= 1
    assert "3 stacks are already waiting" in answers[1].json()["error"]["what"]


def test_jobs_of_another_token_do_not_exist(start: Start) -> None:
    running = start()
    job = running.submit().json()["id"]
    running.ended(job)
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {OTHER}"}, trust_env=False) as other:
        for method, path in (("GET", ""), ("GET", "/mask"), ("DELETE", "")):
            assert other.request(method, f"/v1/jobs/{job}{path}").status_code == 404
        assert other.get("/v1/jobs").json() == {"jobs": []}
    assert [each["id"] for each in running.client.get("/v1/jobs").json()["jobs"]] == [job]


def _job(number: int, **fields: object) -> Job:
    request = Request(file_name="a.tif", suffix=".tif")
    given = {"id": f"{number:032x}", "owner": "x", "request": request, "created": float(number), **fields}
    return Job.model_validate(given)


def test_only_jobs_that_ended_long_ago_are_removed(start: Start) -> None:
    running = start()
    store = running.service.queue.store
    jobs = [
        _job(1, state=State.DONE, ended=10.0),
        _job(2, state=State.DONE, ended=30.0),
        _job(3, state=State.RUNNING),  # no worker has it, so it stays
    ]
    for job in jobs:
        with store.incoming(job.id) as incoming:
            store.accept(job, incoming)
    running.service.queue.remove_old(before=20.0)
    assert [job.id for job in store.all()] == [jobs[1].id, jobs[2].id]
    assert not store.folder(jobs[0].id).exists()


@pytest.mark.parametrize(
    "damage",
    ["", "{}", '{"format": 2}', '{"id": "../../x"}', "[" * 10_000, "x" * 200_000],
    ids=["empty", "bare", "other format", "other id", "deep", "long"],
)
def test_a_damaged_record_is_moved_aside_and_the_others_stay(tmp_path: Path, damage: str) -> None:
    store = JobStore(tmp_path)
    for number in (1, 2):
        with store.incoming(f"{number:032x}") as incoming:
            store.accept(_job(number), incoming)
    (store.folder(f"{1:032x}") / "job.json").write_text(damage)
    again = JobStore(tmp_path)
    assert [job.id for job in again.all()] == [f"{2:032x}"]
    assert (tmp_path / "damaged" / f"{1:032x}").is_dir()


def test_a_record_that_is_a_link_is_no_record(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    with store.incoming(f"{1:032x}") as incoming:
        store.accept(_job(1), incoming)
    record = store.folder(f"{1:032x}") / "job.json"
    record.rename(tmp_path / "elsewhere.json")
    record.symlink_to(tmp_path / "elsewhere.json")
    assert JobStore(tmp_path).all() == []


@pytest.mark.parametrize(("attempts", "state"), [(2, State.QUEUED), (3, State.FAILED)])
def test_a_stack_that_takes_the_service_with_it_is_not_tried_for_ever(
    tmp_path: Path, attempts: int, state: State
) -> None:
    """A cluster kills a whole container for its memory; an orderly end gives the attempt back."""
    store = JobStore(tmp_path)
    running = _job(1).model_copy(update={"state": State.RUNNING, "attempts": attempts})
    with store.incoming(running.id) as incoming:
        store.accept(running, incoming)
    (job,) = JobStore(tmp_path).all()
    assert job.state is state
    assert (job.failure is not None) == (job.ended is not None) == (state is State.FAILED)


def test_an_upload_that_a_kill_cut_off_leaves_nothing(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    (tmp_path / "incoming" / "half").mkdir()
    (tmp_path / "incoming" / "half" / "body").write_bytes(b"x")
    assert JobStore(tmp_path).all() == store.all() == []
    assert list((tmp_path / "incoming").iterdir()) == []


class _Slow:
    """A segmenter whose stack ends when it is told to."""

    def __init__(self) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def segment(self, job: Job, folder: Path, note: object) -> tuple[Served, Result]:
        self.began.set()
        await self.may_end.wait()
        served = Served(name="vessels", version="1", weights_sha256="0" * 64)
        return served, Result(seconds=1, shape_zyx=(1, 2, 3), spacing_um=(1, 1, 1), vessel_share=0.5)


@pytest.mark.parametrize(("grace_s", "state"), [(60.0, State.DONE), (0.01, State.QUEUED)])
def test_a_drain_lets_the_running_stack_end_or_keeps_it(tmp_path: Path, grace_s: float, state: State) -> None:
    """Either way the drain itself ends in order."""

    async def drain() -> None:
        slow, store = _Slow(), JobStore(tmp_path)
        queue = Queue(store, slow, Figures(), most=9, per_owner=9)
        with store.incoming(_job(1).id) as incoming:
            store.accept(_job(1), incoming)
        work = asyncio.create_task(queue.work())
        await slow.began.wait()
        if state is State.DONE:
            slow.may_end.set()
        await queue.drain(grace_s)
        await work
        assert [job.state for job in store.all()] == [state]

    asyncio.run(drain())


def test_an_answer_on_its_way_does_not_double_the_grace_period(start: Start, tmp_path: Path) -> None:
    """Who waits for a small stack keeps a connection open; the engine's own limit is a little over the grace period."""
    running = start(grace_s=0.4, watch_s=30.0)
    stuck = {"stack": ("a.tif", f"wait {tmp_path / 'never'}".encode())}
    waiting = threading.Thread(target=running.client.post, args=("/v1/segment",), kwargs={"files": stuck})
    waiting.start()
    until(lambda: [job["state"] for job in running.client.get("/v1/jobs").json()["jobs"]] == ["running"])
    running.server.should_exit = True
    until(lambda: running.service.queue.draining)
    until(lambda: [job.state for job in running.service.queue.store.all()] == [State.QUEUED])
    assert running.server.server_state.connections, "the queue drains before the connection is closed"
    running.thread.join()
    waiting.join()


def test_a_cancelled_job_costs_the_next_one_neither_an_attempt_nor_time(start: Start) -> None:
    """The process of the cancelled one is gone before the next stack is sent, and is started again at once."""
    running = start(watch_s=30.0)
    for _ in range(4):
        stuck = running.submit(b"wait /nowhere").json()["id"]
        until(lambda: running.job(stuck)["progress"] == 0.5)  # noqa: B023
        following = running.submit().json()["id"]
        began = time.monotonic()
        running.client.delete(f"/v1/jobs/{stuck}")
        assert running.ended(following)["state"] == "done"
        job = running.service.queue.store.get(following)
        assert job is not None
        assert job.attempts == 1
        assert time.monotonic() - began < 20  # below watch_s


@pytest.mark.parametrize("failing", [1, 2])  # the record of its beginning, and of its end
def test_a_disk_that_is_full_for_a_moment_ends_no_queue(
    start: Start, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    monkeypatch.setattr("serving.jobs.queue.DISK_PAUSE_S", 0.05)
    running, calls = start(), []
    save = running.service.queue.store.save

    def saved(job: Job) -> Job:
        calls.append(job)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return save(job)

    monkeypatch.setattr(running.service.queue.store, "save", saved)
    jobs = [running.submit().json()["id"] for _ in range(2)]
    assert [running.ended(each)["state"] for each in jobs] == ["done", "done"]


def test_a_disk_that_fills_while_a_body_arrives_is_507(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that declares no size passes the first look at the disk."""
    running = start()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.uploads._Parts._part_data", full)
    answer = running.submit()
    assert (answer.status_code, answer.json()["error"]["what"]) == (507, "the service's disk is full")
    assert list((running.settings.folder / "incoming").iterdir()) == []


def test_bodies_on_their_way_count_before_they_are_read(start: Start) -> None:
    running = start(jobs_per_token=2, idle_s=20.0)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\n"
    )
    with contextlib.ExitStack() as open_ones:
        for _ in range(2):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", running.port)))
            one.sendall(head.encode())
        until(lambda: len(list((running.settings.folder / "incoming").iterdir())) == 2)
        answer = running.submit()
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, True)
    until(lambda: running.submit().status_code == 202)


def test_a_list_of_many_jobs_looks_at_the_queue_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two days of results a look at the queue for each of them would hold up every other request."""
    running = start()
    for _ in range(5):
        running.ended(running.submit().json()["id"])
    store, looks = running.service.queue.store, []
    every = store.all
    monkeypatch.setattr(store, "all", lambda: looks.append(1) or every())
    assert len(running.client.get("/v1/jobs").json()["jobs"]) == 5
    assert len(looks) == 2  # the jobs, and the queue
