"""The stages' images: they build, run as the launcher runs them, and hold what their stage needs and no more."""

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.docker.containers import client
from tests.support.docker.images import BASE, build, docker_run, size_mb
from tests.support.parts import REPOSITORY

DOCKERFILE = "stages/Dockerfile"
STAGES = ("ingest", "preprocess", "preflight", "train", "evaluate")
MODULES = {"pyyaml": "yaml", "scikit-image": "skimage", "nvidia-ml-py": "pynvml", "pillow": "PIL", "pynrrd": "nrrd"}
INGEST_OVER_THE_BASE_MB = 450
TRAIN_MB = 2000
# as the launcher starts a stage
CONFINED = ("--read-only", "--tmpfs=/tmp", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
FOREIGN = ("--user=54321:54321", "--entrypoint=python")
DEEP_LEARNING, PROJECT = {"torch", "monai", "mlflow", "dvc"}, {"stages", "capillary"}
# imports its arguments, then says who it is and which of all that may not be there is
LOOK = f"""
import getpass, importlib, importlib.util, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
found = [name for name in {sorted(DEEP_LEARNING | PROJECT)} if importlib.util.find_spec(name)]
print(json.dumps({{"user": getpass.getuser(), "found": found}}))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images() -> dict[str, str]:
    """The image of each stage."""
    return {stage: build(DOCKERFILE, f"--build-arg=STAGE={stage}", "--target=runtime")[0] for stage in STAGES}


def _modules(stage: str) -> list[str]:
    lines = (REPOSITORY / "stages" / stage / "requirements.txt").read_text().splitlines()
    names = [line.split("==")[0] for line in lines if line and not line.startswith("#")]
    return [MODULES.get(name, name.replace("-", "_")) for name in names]


@pytest.fixture(scope="module")
def seen(images: dict[str, str]) -> Callable[[str], dict[str, Any]]:
    """What LOOK sees in a stage's image, on a read-only root and as a user without a name; one container per stage."""

    @functools.cache
    def look(stage: str) -> dict[str, Any]:
        done = docker_run(*CONFINED, *FOREIGN, images[stage], "-c", LOOK, *_modules(stage))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return look


@pytest.mark.parametrize("stage", STAGES)
def test_requirements_import_under_a_foreign_uid(seen: Callable[[str], dict[str, Any]], stage: str) -> None:
    """All that the stage asks for is there and loads, and the user has a name to be known by."""
    assert seen(stage)["user"]


@pytest.mark.parametrize("stage", ["ingest", "preprocess", "preflight"])
def test_no_deep_learning_where_none_is_needed(seen: Callable[[str], dict[str, Any]], stage: str) -> None:
    """Stages that handle files hold neither torch nor MLflow."""
    assert not DEEP_LEARNING & set(seen(stage)["found"])


@pytest.mark.parametrize("stage", STAGES)
def test_no_code_of_the_project_in_an_environment(seen: Callable[[str], dict[str, Any]], stage: str) -> None:
    """The code is mounted, so an image cannot go stale behind it."""
    assert not PROJECT & set(seen(stage)["found"])


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_says_what_it_is_and_is_not_root(images: dict[str, str], stage: str) -> None:
    """Labels of the Open Container Initiative, and its own user."""
    config = client().images.get(images[stage]).attrs["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == f"capillary {stage}"
    assert labels["description"]
    assert labels["licenses"] == "Apache-2.0"
    assert config["User"] == "1000:1000"


@pytest.mark.parametrize("stage", STAGES)
def test_no_cache_of_pip_in_an_image(images: dict[str, str], stage: str) -> None:
    """What pip downloaded stays on the builder."""
    over_the_base = "find / -xdev ( -path '*/.cache/pip' -o -newer /opt/venv/pyvenv.cfg -name '*.whl' ) -print"
    done = docker_run(
        "--user=0", "--entrypoint=sh", images[stage], "-c", over_the_base.replace("(", r"\(").replace(")", r"\)")
    )
    assert done.stdout == ""


def test_sizes_are_within_their_limits(images: dict[str, str]) -> None:
    """ingest stays small; train on a CPU fits a small disk."""
    assert size_mb(images["ingest"]) - size_mb(BASE) < INGEST_OVER_THE_BASE_MB
    assert size_mb(images["train"]) < TRAIN_MB


def test_a_cuda_image_without_cuda_is_refused() -> None:
    """TORCH=cuda fails the build in one sentence when torch came for the CPU."""
    arguments = ("--build-arg=STAGE=train", "--build-arg=TORCH=cuda")
    image, messages = build(DOCKERFILE, "--target=runtime", *arguments, check=False)
    if image:  # this machine's package index serves CUDA builds
        code = "import torch; assert torch.version.cuda"
        assert docker_run(*CONFINED, *FOREIGN, image, "-c", code).returncode == 0
        return
    assert "torch came without CUDA" in messages
    assert "CAPILLARY_TORCH_INDEX" in messages


@pytest.fixture
def context(tmp_path: Path) -> Iterator[str]:
    """An image that holds all that a build of this repository can see, made from a checkout full of secrets."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    shutil.copy(REPOSITORY / ".dockerignore", checkout)
    for name in (".env", ".git/config", "data/raw/x.tif", ".dvc/config.local", "mlruns/mlflow.db", "stages/x/.env"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("secret")
    for name in ("stages/x/y.py", "services/x/z.py", "constraints.txt", "pyproject.toml", "Dockerfile.dvc-runner"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("code")
    (checkout / "services" / "Dockerfile").write_text(f"FROM {BASE}\nCOPY . /context\n")
    image, _ = build("services/Dockerfile", context=checkout)
    yield image
    client().images.remove(image, force=True)


def test_builds_see_code_and_pins_and_nothing_else(context: str) -> None:
    """No data, no secret, no history reaches the daemon, so none can end in a layer."""
    listed = docker_run("--entrypoint=sh", context, "-c", "cd /context && find . -type f ! -name Dockerfile | sort")
    assert listed.stdout.split() == [
        "./Dockerfile.dvc-runner",
        "./constraints.txt",
        "./pyproject.toml",
        "./services/x/z.py",
        "./stages/x/y.py",
    ]


def test_a_release_runs_by_itself(tmp_path: Path) -> None:
    """The target `release` holds the code: params, data and room for the outs are all that it is given."""
    image, _ = build(DOCKERFILE, "--target=release", "--build-arg=STAGE=ingest", "--build-arg=VERSION=1.2.3")
    assert client().images.get(image).labels["org.opencontainers.image.version"] == "1.2.3"
    (tmp_path / "data").mkdir()
    rules = "label_geometry: world, label: binary, ignore_value: null, channel: null, level_um: null"
    params = f"ingest: {{source: samples/phantom, on_invalid: fail, {rules}}}\n"
    (tmp_path / "params.yaml").write_text(params)
    for folder in (tmp_path, tmp_path / "data"):
        folder.chmod(0o777)
    mounts = (f"--volume={tmp_path}:/work", f"--volume={REPOSITORY / 'samples'}:/work/samples:ro")
    done = docker_run(*CONFINED, *mounts, image)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "raw" / "volumes.csv").is_file()


def test_dockerfiles_name_no_place_and_no_frontend() -> None:
    """Nothing is fetched but the base and packages: no other registry, no `# syntax` line, the base by ARG."""
    for file in (
        REPOSITORY / DOCKERFILE,
        *REPOSITORY.glob("services/*/Dockerfile"),
        REPOSITORY / "Dockerfile.dvc-runner",
    ):
        text = file.read_text()
        assert "# syntax" not in text
        assert f"ARG BASE={BASE}\n" in text
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) <= {"${BASE}", "runtime"}
