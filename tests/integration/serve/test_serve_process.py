"""The service as a process with real networks: the mask of `capillary predict`, a swap, an end that loses nothing."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile

from tests.support.models.networks import brightness_network
from tests.support.models.prediction import PredictionProject
from tests.support.parts import REPOSITORY
from tests.support.ports import free_port

SHAPE = (5, 40, 36)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> PredictionProject:
    """Two folds of one loss."""
    project = PredictionProject(tmp_path_factory.mktemp("serve") / "project")
    for fold, bias in enumerate((-5.0, -7.0)):
        project.register(brightness_network(bias), fold=fold)
    return project


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("stack") / "stack.tif"
    tifffile.imwrite(file, np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    return file


@contextlib.contextmanager
def _serving(project: PredictionProject) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """The service in `project`, ready; ended by SIGTERM."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "SERVE_PORT": str(port),
        "CAPILLARY_SERVE_WATCH_S": "0.2",
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen([sys.executable, "-m", "serving"], cwd=project.root, env=environment) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                _until(lambda: _is_ready(client), process)
                yield client, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def _until(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not holds():
        assert process.poll() is None
        time.sleep(0.05)


def _mask_of_zipped_slices(client: httpx.Client, stack: Path) -> bytes:
    """The mask of `stack` sent as a zip of a folder of slices."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for z, plane in enumerate(tifffile.imread(stack)):
            page = io.BytesIO()
            tifffile.imwrite(page, plane)
            zipped.writestr(f"mouse/z{z}.tif", page.getvalue())
    files = {"stack": ("mouse.zip", packed.getvalue())}
    answer = client.post("/v1/segment", files=files, data={"spacing_um": "5,1,1"})
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_mask_has_the_bytes_of_predict_and_a_new_model_takes_over(project: PredictionProject, stack: Path) -> None:
    """SIGTERM ends the process and its worker."""
    done = project.predict(str(stack), str(stack.with_name("seg.tif")), "--spacing-um", "5,1,1")
    assert done.returncode == 0, done.stderr
    with _serving(project) as (client, process):
        with stack.open("rb") as stream:
            answer = client.post("/v1/jobs", files={"stack": stream}, data={"spacing_um": "5,1,1", "view": "yes"})
        path = answer.headers["Location"]
        _until(lambda: client.get(path).json()["state"] in ("done", "failed"), process)
        job = client.get(path).json()
        assert job["state"] == "done", job
        assert client.get(f"{path}/mask").content == stack.with_name("seg.tif").read_bytes()
        assert job["result"]["shape_zyx"] == list(SHAPE)
        assert client.get(f"{path}/view_mask").status_code == 200
        assert _mask_of_zipped_slices(client, stack) == stack.with_name("seg.tif").read_bytes()

        before = client.get("/v1/models").json()["current"]["versions"]
        project.register(brightness_network(-9.0), fold=0)
        _until(lambda: client.get("/v1/models").json()["current"]["versions"] != before, process)
    assert process.returncode in (0, -signal.SIGTERM)
