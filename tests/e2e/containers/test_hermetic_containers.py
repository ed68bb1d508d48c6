"""A stage in a container cannot do what its plan does not give it. Each test tries from within and is refused."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.images import Image

from tests.support.docker.containers import ACCESS, DOCKERFILE, LIMITS, ContainerToy, Run, client, whole
from tests.support.parts import require

TOKEN = "t0ken-of-the-vault"
OTHER_USER = 65534  # nobody: a user that every machine has
PORT = 8765
# a program that becomes root whoever starts it
SETUID_PROGRAM = "RUN cp /usr/bin/id /usr/local/bin/id-of-root && chmod 4755 /usr/local/bin/id-of-root\n"
TWO_STAGES = """
stages:
  toy:
    cmd: capillary stage toy
    deps: [data/in.txt, stages/toy, stages/common, stages/__init__.py]
    params: [toy.mode, toy.times]
    outs: [data/out]
  vault:
    cmd: capillary stage vault
    deps: [stages/vault, stages/common, stages/__init__.py]
    outs: [data/vault]
"""
VAULT = """
import json, os, time
from pathlib import Path

assert os.environ["VAULT_TOKEN"]
(Path(json.loads(Path("order.json").read_text())["state_dir"]) / "started").touch()
time.sleep(120)
"""
MODES = """
import ctypes, shutil, traceback

LIBC = ctypes.CDLL(None, use_errno=True)


def refused(*attempts):
    # raises what the last attempt raised; returns, so that the stage ends well, when one was not refused
    for attempt in attempts:
        try:
            attempt()
        except (OSError, subprocess.CalledProcessError) as error:
            print("refused:", error, flush=True)
            last = error
        else:
            print("NOT REFUSED", attempt, flush=True)
            return
    raise last


def run(*argv):
    return lambda: subprocess.run(argv, check=True, stderr=subprocess.STDOUT)


def system_call(name, *arguments):
    def call():
        if getattr(LIBC, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return call


def read_undeclared(state, times):
    absolute = Path(os.environ["TOY_ROOT"]) / "data/other.txt"
    refused(Path("data/other.txt").read_text, absolute.read_text, run("cat", "data/other.txt"),
            run("cat", absolute), lambda: os.listdir(os.environ["TOY_ROOT"] + "/data"))

def search_everywhere(state, times):
    places = [parent for parent, _, files in os.walk("/") if "other.txt" in files and not parent.startswith("/proc")]
    if not places:
        raise FileNotFoundError("other.txt is nowhere")

def write_beside(state, times):
    subprocess.run(["sh", "-c", "echo x > data/more.txt"], check=True)

def write_dep(state, times):
    dep = Path("data/in.txt")
    refused(lambda: dep.write_text("changed"), dep.unlink, lambda: dep.rename("data/away.txt"),
            run("sh", "-c", "echo changed >> data/in.txt"), lambda: Path("stages/toy/more.py").write_text("x = 1"),
            lambda: Path("params.yaml").write_text("toy: {}"))

def write_root(state, times):
    places = ["/usr/bin/ls", "/etc/passwd", "/x", "/opt/venv/x", "/capillary/inside.pyz", "/var/x", "/run/x", "/home/x"]
    refused(*[run("sh", "-c", f"echo x >> {place}") for place in places])

def connect(state, times):
    addresses = os.environ["TOY_ADDRESSES"].split()  # the neighbour, the machine
    refused(*[lambda address=address: socket.create_connection((address, int(os.environ["TOY_PORT"])), timeout=3)
              for address in [*addresses, "127.0.0.1"]],
            lambda: socket.getaddrinfo("example.org", 80),
            run(sys.executable, "-I", "-c", f"import socket; socket.create_connection(('{addresses[0]}', 53), 3)"))

def spy(state, times):
    found = [f"{name}={value}" for name, value in os.environ.items()]
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("environ", "cmdline"):
            try:
                found.append((process / name).read_text().replace(chr(0), " "))
            except OSError as error:
                found.append(str(error))
    (OUT / "seen.txt").write_text(chr(10).join(found))
    (OUT / "processes.txt").write_text(" ".join(place.name for place in Path("/proc").glob("[0-9]*")))

def gain(state, times):
    print(Path("/proc/self/status").read_text())
    (OUT / "own.txt").touch()
    other = os.geteuid() + 1
    refused(lambda: os.chown(OUT / "own.txt", other, other), lambda: os.setuid(other), lambda: os.setgroups([0, other]),
            lambda: os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(8, 0)),
            system_call("mount", b"none", b"/tmp", b"tmpfs", 0, None), system_call("unshare", 0x10000000),
            system_call("chroot", b"/tmp"), lambda: os.nice(-5),
            lambda: Path("/proc/sys/kernel/hostname").write_text("x"))

def become_root(state, times):
    (OUT / "user.txt").write_text(f"{os.getuid()} {os.geteuid()}")
    (OUT / "setuid.txt").write_bytes(subprocess.run(["id-of-root", "-u"], check=True, capture_output=True).stdout)

def fork_bomb(state, times):
    started = 0
    try:
        while started < 1000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            started += 1
    except OSError as error:
        raise RuntimeError(f"stopped after {started} processes: {error}") from None

def fill_shared_memory(state, times):
    with open("/dev/shm/x", "wb") as stream:
        for _ in range(200):
            stream.write(bytes(1 << 20))

def find_socket(state, times):
    sockets = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"]
    def connect(place):
        socket.socket(socket.AF_UNIX).connect(place)
    refused(*[lambda place=place: connect(place) for place in sockets])

def try_all(state, times):
    # processes of the last one are there until the stage ends
    for attempt in (read_undeclared, search_everywhere, write_dep, write_root, connect, gain, find_socket,
                    fill_shared_memory, fork_bomb):
        print("attempt:", attempt.__name__, flush=True)
        try:
            attempt(state, times)
        except Exception:
            traceback.print_exc(file=sys.stdout)
        else:
            print("NOT REFUSED", attempt.__name__, flush=True)
    raise RuntimeError("nothing more to try")
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ContainerToy:
    """A project whose stage never ends well, so that nothing must ever be published."""
    client()
    access = f"{ACCESS}vault: {{network: none, env: [VAULT_*], resume: true, {LIMITS}}}\n"
    folder = tmp_path_factory.mktemp("hermetic") / "toy"
    toy = ContainerToy(folder, MODES, access=access, dockerfile=DOCKERFILE + SETUID_PROGRAM)
    shutil.copytree(folder / "stages" / "toy", folder / "stages" / "vault")
    (folder / "stages" / "vault" / "__main__.py").write_text(VAULT)
    (folder / "dvc.yaml").write_text(TWO_STAGES)
    (folder / "data" / "other.txt").write_text("what nobody declared\n")
    toy.commit()
    return toy


@pytest.fixture(scope="module")
def finished(toy: ContainerToy, tmp_path_factory: pytest.TempPathFactory) -> ContainerToy:
    """A copy whose stage ended well."""
    twin = toy.copy(tmp_path_factory.mktemp("finished") / "toy")
    twin.set("work", 2)
    done = twin.repro("toy")
    assert done.returncode == 0, done.stdout + done.stderr
    return twin


@pytest.fixture(scope="module")
def image(finished: ContainerToy) -> Image:
    """The image in which the stage runs."""
    return max(client().images.list(filters={"label": "capillary.environment=toy"}), key=_created)


def _created(image: Image) -> str:
    created: str = image.attrs["Created"]
    return created


@pytest.fixture(scope="module")
def listener(image: Image) -> Iterator[Container]:
    """A container that listens on the daemon's default network and is reached from there."""
    serve = ["python", "-m", "http.server", str(PORT)]
    server = client().containers.run(image, serve, detach=True, labels={"capillary.test": "listener"})
    try:
        server.reload()
        yield server
    finally:
        server.remove(force=True)


@pytest.fixture(scope="module")
def tried(toy: ContainerToy, listener: Container) -> dict[str, str]:
    """What the stage printed about each of its attempts, all made in one container: name → output."""
    network = listener.attrs["NetworkSettings"]
    addresses = f"{network['IPAddress']} {network['Gateway']}"
    output = _fails(toy, "try_all", TOY_ADDRESSES=addresses, TOY_PORT=str(PORT))
    assert "nothing more to try" in output
    sections = (section.partition("\n") for section in output.split("attempt: ")[1:])
    return {name: said for name, _, said in sections}


def _refused(tried: dict[str, str], name: str) -> str:
    """What the stage printed about the attempt `name`, of which nothing succeeded."""
    assert "NOT REFUSED" not in tried[name]
    return tried[name]


def _fails(toy: ContainerToy, mode: str, **variables: str) -> str:
    """The output of a stage that must fail, publish nothing and leave nothing."""
    toy.set(mode)
    done = toy.repro("toy", **variables)
    output = done.stdout + done.stderr
    assert done.returncode != 0, output
    assert toy.parts() is None
    assert toy.left(within_s=5) == []
    assert toy.leftovers() == []
    return output


def test_what_is_declared_works(finished: ContainerToy) -> None:
    """The other tests would prove nothing if no stage could run at all."""
    assert finished.parts() == whole(2)
    assert finished.left(within_s=5) == []


def test_an_undeclared_file_cannot_be_read(tried: dict[str, str]) -> None:
    """Neither by its relative nor by its absolute path, nor by a program that is not Python."""
    output = _refused(tried, "read_undeclared")
    assert "No such file or directory" in output
    assert "what nobody declared" not in output


def test_an_undeclared_file_is_nowhere_in_the_container(tried: dict[str, str]) -> None:
    """A search of the whole file system does not find it."""
    assert "other.txt is nowhere" in _refused(tried, "search_everywhere")


def test_a_file_beside_the_out_fails_the_run(toy: ContainerToy) -> None:
    """It is written into scratch, found before publishing, named, and never reaches the workspace."""
    output = _fails(toy, "write_beside")
    assert "data/more.txt" in output
    assert "exited with 5" in output
    assert not (toy.root / "data" / "more.txt").exists()


def test_deps_and_params_cannot_be_changed(toy: ContainerToy, tried: dict[str, str]) -> None:
    """Not written, removed, renamed, appended to by a shell, nor added to."""
    assert "Read-only file system" in _refused(tried, "write_dep")
    assert (toy.root / "data" / "in.txt").read_text() == "hello\n"
    assert not (toy.root / "stages" / "toy" / "more.py").exists()


def test_the_root_file_system_cannot_be_changed(tried: dict[str, str]) -> None:
    """Neither the image's files nor the launcher's own."""
    assert re.search(r"Read-only file system|cannot create", _refused(tried, "write_root"))


def test_a_stage_without_a_network_reaches_none(tried: dict[str, str], listener: Container) -> None:
    """Nor a neighbour that every other container reaches, nor the machine, nor a name server."""
    network = listener.attrs["NetworkSettings"]
    ask = f"import socket,time; time.sleep(1); socket.create_connection(('{network['IPAddress']}', {PORT}), 5)"
    client().containers.run(listener.image, ["python", "-c", ask], remove=True)  # raises when it is not reached
    assert "Network is unreachable" in _refused(tried, "connect")


def test_a_stage_sees_no_secret_of_another(toy: ContainerToy, tmp_path: Path) -> None:
    """Not in its environment, not in /proc; `docker inspect` shows it for no stage, not even the one that has it."""
    twin = toy.copy(tmp_path / "toy")
    run = Run(twin, "dvc", "repro", "-s", "vault", VAULT_TOKEN=TOKEN)
    try:
        run.wait_started()
        (vault,) = twin.containers()
        twin.set("spy")
        done = twin.repro("-s", "toy", VAULT_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
        seen = twin.parts()
        assert seen is not None
        assert TOKEN not in seen["seen.txt"]
        assert "VAULT" not in seen["seen.txt"]
        assert "USER=capillary" in seen["seen.txt"]
        assert len(seen["processes.txt"].split()) <= 5  # its own: init, the first process, the stage
        assert TOKEN not in json.dumps(_inspect(vault))
        assert TOKEN not in _logs(twin)
    finally:
        if launcher := run.launcher():
            launcher.terminate()
        run.output()
    assert twin.left() == []


def _inspect(container: dict[str, Any]) -> dict[str, Any]:
    inspected: dict[str, Any] = client().api.inspect_container(container["Id"])
    assert inspected["State"]["Running"]
    return inspected


def _logs(toy: ContainerToy) -> str:
    return "".join(log.read_text() for log in (toy.root / ".capillary").rglob("*.log"))


def test_no_capability_can_be_gained(tried: dict[str, str]) -> None:
    """chown, another user, a device, a mount, a name space, chroot, a higher priority, the kernel's settings."""
    output = _refused(tried, "gain")
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert f"Cap{kind}:\t{0:016x}" in output
    assert "NoNewPrivs:\t1" in output
    assert "Operation not permitted" in output


def test_a_setuid_program_gives_nothing_and_files_belong_to_the_caller(toy: ContainerToy, image: Image) -> None:
    """For a caller who is not root: the same program makes root of it in a container without our settings."""
    require(os.geteuid() == 0, "root, to start the run as somebody else")
    gained = client().containers.run(image, ["id-of-root", "-u"], user=str(OTHER_USER), remove=True)
    assert gained == b"0\n"
    # DVC leaves a process that looks for newer versions, and may still write while the folder is removed
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        twin = toy.copy(Path(folder) / "toy")
        twin.set("become_root")
        for path in [twin.root, *twin.root.rglob("*")]:
            os.chown(path, OTHER_USER, OTHER_USER, follow_symlinks=False)
        done = _repro_as(OTHER_USER, twin)
        assert done.returncode == 0, done.stderr
        assert twin.parts() == {"user.txt": f"{OTHER_USER} {OTHER_USER}", "setuid.txt": f"{OTHER_USER}\n"}
        owners = {path: path.lstat().st_uid for path in twin.root.rglob("*")}
        assert {path for path, owner in owners.items() if owner != OTHER_USER} == set()


def _repro_as(user: int, toy: ContainerToy) -> subprocess.CompletedProcess[str]:
    identity = [f"--reuid={user}", f"--regid={user}", f"--groups={Path('/var/run/docker.sock').stat().st_gid}"]
    # the interpreter that runs these tests may be in root's home; nothing of it reaches the container
    reads_all = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    variables = toy.environment(HOME=str(toy.root), DVC_SITE_CACHE_DIR=str(toy.root / ".dvc" / "site"))
    return subprocess.run(
        ["setpriv", *identity, *reads_all, "dvc", "repro", "toy"],
        cwd=toy.root,
        env=variables,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_fork_bomb_stops_at_the_limit(tried: dict[str, str]) -> None:
    """pids in configs/stages.yaml holds for the stage with all that it starts."""
    output = _refused(tried, "fork_bomb")
    stopped = re.search(r"stopped after (\d+) processes", output)
    assert stopped, output
    assert int(stopped[1]) < 64


def test_shared_memory_ends_at_the_limit(tried: dict[str, str]) -> None:
    """shm_gb in configs/stages.yaml. What ends at memory_gb is test_container_chaos.py's."""
    assert "No space left on device" in _refused(tried, "fill_shared_memory")


def test_no_stage_gets_the_socket(tried: dict[str, str]) -> None:
    """Whoever has it is root on the machine."""
    assert "No such file or directory" in _refused(tried, "find_socket")
