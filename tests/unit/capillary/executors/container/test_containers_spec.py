import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capillary.compute.memory import default_share
from capillary.executors.container.host_paths import Mount, MountedPaths, SamePaths
from capillary.executors.container.scratch import lay_scratch
from capillary.executors.container.spec import ContainerHost, ContainerSpec, container_spec, limits_of, network_of
from capillary.planning.plan import StagePlan

MakePlan = Callable[..., StagePlan]
HERE = ContainerHost(paths=SamePaths(), own_id=None, user="1234:1234")


def spec_of(plan: StagePlan, tmp_path: Path, place: ContainerHost = HERE, gpus: tuple[str, ...] = ()) -> ContainerSpec:
    base = tmp_path / "run"
    base.mkdir()
    return container_spec(plan, lay_scratch(plan, base), place, "capillary-toy:1", gpus)


def mounts(spec: ContainerSpec) -> dict[str, tuple[str, bool]]:
    """Target → (source, whether it may be written)."""
    return {mount["Target"]: (mount["Source"], not mount["ReadOnly"]) for mount in spec.body["HostConfig"]["Mounts"]}


def test_deps_are_read_only_and_parents_of_outs_writable(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """Under the paths that dvc.yaml has, in a working folder named like the workspace; spaces do no harm."""
    plan = make_plan("data/in.txt", "../beside", "stages", outs=("data/out", "models/a/fold.json", "models/b.json"))
    spec = spec_of(plan, tmp_path)
    work = f"/work/{root.parent.name}/my project"
    assert spec.body["WorkingDir"] == work
    run = tmp_path / "run"
    assert mounts(spec) == {
        f"{work}/data": (f"{run}/files/data", True),
        f"{work}/models": (f"{run}/files/models", True),
        f"{work}/params.yaml": (f"{run}/params.yaml", False),
        f"{work}/order.json": (f"{run}/order.json", False),
        "/capillary/inside.pyz": (f"{run}/inside.pyz", False),
        "/capillary/tmp": (f"{run}/tmp", True),
        f"{work}/data/in.txt": (str(root / "data/in.txt"), False),
        f"/work/{root.parent.name}/beside": (str(root.parent / "beside"), False),
        f"{work}/stages": (str(root / "stages"), False),
    }
    # places for mounts in mounts exist, so that the daemon does not make them; the outs are the stage's to make
    made = {str(path.relative_to(run / "files")) for path in (run / "files").rglob("*")}
    assert made == {"data", "data/in.txt", "models", "models/a"}


@pytest.mark.parametrize("item", ["a/b", "a+b", "alpha=0.5", "two words", "µm"])
def test_any_item_of_a_matrix_makes_a_name_that_docker_takes(make_plan: MakePlan, tmp_path: Path, item: str) -> None:
    """DVC takes any; Docker refuses the container."""
    name = spec_of(make_plan(address=f"toy@{item}"), tmp_path).name
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)


def test_an_out_at_the_top_makes_the_working_folder_the_scratch(
    make_plan: MakePlan, root: Path, tmp_path: Path
) -> None:
    """Its parent is the working folder itself."""
    found = mounts(spec_of(make_plan("data/in.txt", outs=("out.txt",)), tmp_path))
    assert found["/work/my project"] == (f"{tmp_path}/run/files", True)
    assert (tmp_path / "run/files/params.yaml").exists()


def test_an_absolute_dep_keeps_its_path(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """What params.yaml names is what the stage opens."""
    name = str(root.parent / "beside" / "x.txt")
    assert mounts(spec_of(make_plan(name), tmp_path))[name] == (name, False)


def test_links_into_the_cache_bring_the_cache(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """Under cache.type symlink a dep holds links to absolute places; without such links the cache stays unseen."""
    plan = make_plan("data/in.txt", "data/folder", cache_dir=root / ".dvc/cache/files/md5")
    cached = plan.cache_dir / "ab" / "cdef"
    cached.parent.mkdir(parents=True)
    cached.write_text("x")
    (root / "data/folder").mkdir()
    (tmp_path / "first").mkdir()
    assert str(plan.cache_dir) not in mounts(spec_of(plan, tmp_path / "first"))
    (root / "data/folder/x.txt").symlink_to(cached)
    assert mounts(spec_of(plan, tmp_path))[str(plan.cache_dir)] == (str(plan.cache_dir), False)


def test_mounts_below_a_dep_are_mounted_again(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """In a launcher's container a bind of the dep's host folder would lack what is mounted into it there."""
    plan = make_plan("data")
    own = [
        Mount(source="/host/project", destination=str(root)),
        Mount(source="/host/stacks", destination=str(root / "data/stacks")),
        Mount(source="/host/run", destination=str(tmp_path / "run")),
    ]
    found = mounts(
        spec_of(plan, tmp_path, ContainerHost(paths=MountedPaths("f" * 64, own), own_id="f" * 64, user="0:0"))
    )
    assert found["/work/my project/data"] == ("/host/project/data", False)
    assert found["/work/my project/data/stacks"] == ("/host/stacks", False)


def test_the_plan_s_own_folders_can_be_written_where_they_lie(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """Resume state and the embedded tracking store outlive the container."""
    folders = (root / ".capillary/state/toy", root / "mlruns")
    found = mounts(spec_of(make_plan("data/in.txt", writable=folders), tmp_path))
    assert {place: found[str(place)] for place in folders} == {place: (str(place), True) for place in folders}


def test_the_container_runs_the_stage_under_its_supervisor(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """As the given user, on the launcher's connection: standard input is open once, and all streams are attached."""
    spec = spec_of(make_plan("data/in.txt", address="toy@a/b", argv=("--fold", "1")), tmp_path)
    assert spec.body["Image"] == "capillary-toy:1"
    assert spec.body["Entrypoint"] == ["python", "-P", "/capillary/inside.pyz"]
    assert spec.body["Cmd"] == ["stages.toy", "--fold", "1"]
    assert spec.body["User"] == "1234:1234"
    switches = ("OpenStdin", "StdinOnce", "AttachStdin", "AttachStdout", "AttachStderr")
    assert [spec.body[name] for name in switches] == [True] * 5
    assert spec.name == "capillary-toy-a-b-run"
    assert spec.body["HostConfig"]["Tmpfs"] == {"/tmp": "rw,nosuid,nodev,size=268435456"}
    assert all(mount["Type"] == "bind" for mount in spec.body["HostConfig"]["Mounts"])


def test_the_stage_finds_its_code_and_its_folders(make_plan: MakePlan, tmp_path: Path) -> None:
    """Its caches are on disk, since a tmpfs counts as its memory."""
    spec = spec_of(make_plan(threads=3), tmp_path)
    assert dict(entry.split("=", 1) for entry in spec.body["Env"]) == {
        "PYTHONPATH": "/work/my project",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",
        "USER": "capillary",
        "LOGNAME": "capillary",
        "TMPDIR": "/capillary/tmp",
        "XDG_CACHE_HOME": "/capillary/tmp",
        "MPLCONFIGDIR": "/capillary/tmp",
        "OMP_NUM_THREADS": "3",
        "GOMP_SPINCOUNT": "2000",
    }


@pytest.mark.parametrize(
    ("own_id", "needs", "exists", "handed"),
    [
        (None, True, True, True),
        (None, False, True, False),
        ("f" * 64, True, True, False),
        (None, True, False, False),
    ],
    ids=["needed", "no network", "in a container", "missing"],
)
def test_a_laboratory_s_own_certificates_come_along_where_they_are_needed(
    make_plan: MakePlan, tmp_path: Path, own_id: str | None, needs: bool, exists: bool, handed: bool
) -> None:
    """A launcher in a container has those of its image, as the stage has."""
    bundle = tmp_path / "ca.crt"
    if exists:
        bundle.touch()
    user = {"SSL_CERT_FILE": str(bundle), "PATH": str(bundle)}
    plan = make_plan(user_environment=user, needs_network=needs)
    place = ContainerHost(paths=SamePaths(), own_id=own_id, user="0:0")
    assert spec_of(plan, tmp_path, place).secrets == ({"SSL_CERT_FILE": str(bundle)} if handed else {})


def test_the_container_can_do_nothing_but_its_work(make_plan: MakePlan, tmp_path: Path) -> None:
    """No capability, no new privileges, nothing to write outside mounts, limits, an init, gone when it ends."""
    host = spec_of(make_plan("data/in.txt"), tmp_path).body["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"]
    assert host["Init"]
    assert host["AutoRemove"]
    assert host["PidsLimit"] == 256
    assert host["NetworkMode"] == "none"
    assert "Privileged" not in host


def test_memory_is_limited_together_with_swap(make_plan: MakePlan) -> None:
    """Otherwise a stage over its limit would crawl instead of failing."""
    limited = make_plan().access.model_copy(update={"memory_gb": 1.5, "shm_gb": 0.5})
    place = ContainerHost(paths=SamePaths(), own_id=None, user="0:0", memory_bytes=16 << 30, side_by_side=2)
    limits = limits_of(limited, place)
    assert limits["Memory"] == limits["MemorySwap"] == 1_610_612_736
    assert limits["ShmSize"] == 536_870_912
    shared = limits_of(limited.model_copy(update={"memory_gb": None}), place)
    assert shared["Memory"] == shared["MemorySwap"] == default_share(16 << 30, 2)
    assert "Memory" not in limits_of(limited.model_copy(update={"memory_gb": "none"}), place)


def test_nothing_of_the_users_settings_shows_in_the_containers_description(make_plan: MakePlan, tmp_path: Path) -> None:
    """All that comes from the environment or .env goes by standard input; `docker inspect` shows the tool's own."""
    plan = make_plan(
        "data/in.txt",
        environment={"MLFLOW_TRACKING_PASSWORD": "s3cr3t", "CUDA_VISIBLE_DEVICES": "1"},
        user_environment={"PATH": "/home/me/bin", "HOME": "/home/me", "LANG": "de_DE.UTF-8", "LC_ALL": "C"},
    )
    spec = spec_of(plan, tmp_path)
    assert "s3cr3t" not in str(spec.body)
    assert spec.secrets == {"MLFLOW_TRACKING_PASSWORD": "s3cr3t"}
    visible = dict(entry.split("=", 1) for entry in spec.body["Env"])
    assert visible["LANG"] == "de_DE.UTF-8"
    assert visible["LC_ALL"] == "C"
    assert visible["HOME"] == "/tmp"
    assert "PATH" not in visible


def test_files_that_variables_name_come_along(make_plan: MakePlan, tmp_path: Path) -> None:
    """Credentials at the path that their variable has, read-only."""
    key = tmp_path / "key.json"
    key.write_text("{}")
    plan = make_plan(environment={"GOOGLE_APPLICATION_CREDENTIALS": str(key), "FOLDER": str(tmp_path)})
    found = mounts(spec_of(plan, tmp_path))
    assert found[str(key)] == (str(key), False)
    assert str(tmp_path) not in found


def test_a_file_that_two_variables_name_is_mounted_once(make_plan: MakePlan, tmp_path: Path) -> None:
    """SSL_CERT_FILE and REQUESTS_CA_BUNDLE often name the same one; the daemon refuses a place that is taken."""
    bundle = tmp_path / "ca.crt"
    bundle.touch()
    both = {"SSL_CERT_FILE": str(bundle), "REQUESTS_CA_BUNDLE": str(bundle)}
    spec = spec_of(make_plan(user_environment=both, needs_network=True), tmp_path)
    targets = [mount["Target"] for mount in spec.body["HostConfig"]["Mounts"]]
    assert targets.count(str(bundle)) == 1


def test_servers_at_a_loopback_address_are_reached_through_the_machine_s_network(make_plan: MakePlan) -> None:
    """Also those that no variable names."""
    plan = make_plan(needs_network=True, servers=("https://x.org", "postgresql://127.0.0.1:5432"))
    assert network_of(plan, None) == "host"
    behind = make_plan(needs_network=True, environment={"https_proxy": "127.0.0.1:3128"})
    assert network_of(behind, None) == "host"


@pytest.mark.parametrize(
    ("needs", "own_id", "uri", "network"),
    [
        (False, None, "http://127.0.0.1:5000", "none"),
        (False, "f" * 64, "http://mlflow:5000", "none"),
        (True, "f" * 64, "http://mlflow:5000", f"container:{'f' * 64}"),
        (True, None, "https://mlflow.example.org", "bridge"),
        (True, None, "http://localhost:5000", "host"),
        (True, None, "http://me:pw@127.0.0.1:5000", "host"),
        (True, None, "http://[::1]:5000", "host"),
        (True, None, "http://127.1.2.3:5000", "host"),
        (True, None, "http://0.0.0.0:5000", "host"),
        (True, None, "http://localhost.:5000", "host"),
        (True, None, "http://mlflow.localhost:5000", "host"),
        (True, None, "http://[::ffff:127.0.0.1]:5000", "host"),
        (True, None, "http://127.1:5000", "host"),
        (True, None, "http://127.example.org", "bridge"),
        (True, None, "http://localhost.example.org", "bridge"),
        (True, None, "http://128.0.0.1", "bridge"),
        (True, None, "http://[broken", "bridge"),
        (True, None, "localhost", "bridge"),
    ],
)
def test_as_little_network_as_the_plan_needs(
    make_plan: MakePlan, needs: bool, own_id: str | None, uri: str, network: str
) -> None:
    """None, the launcher's own, the default bridge, or the machine's for a server on loopback."""
    plan = make_plan(environment={"MLFLOW_TRACKING_URI": uri}, needs_network=needs)
    assert network_of(plan, own_id) == network


def test_gpus_are_asked_for_by_id(make_plan: MakePlan, tmp_path: Path) -> None:
    """So that stages side by side have different ones."""
    (tmp_path / "first").mkdir()
    assert "DeviceRequests" not in spec_of(make_plan(), tmp_path / "first").body["HostConfig"]
    request: dict[str, Any] = spec_of(make_plan(), tmp_path, gpus=("GPU-1",)).body["HostConfig"]["DeviceRequests"][0]
    assert request == {"Driver": "nvidia", "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu", "compute", "utility"]]}


def test_labels_say_whose_it_is(make_plan: MakePlan, root: Path, tmp_path: Path) -> None:
    """By the daemon's own paths, so that the same project has one name inside and outside a container."""
    plan = make_plan(address="toy@a-0", repository=root.parent)
    assert spec_of(plan, tmp_path).body["Labels"] == {
        "capillary.project": os.fspath(root.parent),
        "capillary.workspace": os.fspath(root),
        "capillary.stage": "toy",
        "capillary.address": "toy@a-0",
        "capillary.state": "toy",
        "capillary.caller": "run",
    }
    (tmp_path / "again").mkdir()
    own = ContainerHost(
        paths=MountedPaths("f" * 64, [Mount(source="/host", destination=str(tmp_path))]), own_id=None, user=""
    )
    assert spec_of(plan, tmp_path / "again", own).body["Labels"]["capillary.workspace"] == "/host/my project"
