"""Ways around the guard that lead through /proc, links, `..`, open folders and sockets, tried in a real stage."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process.execute import execute
from capillary.lifetimes.stop import Stop
from capillary.planning.plan import StagePlan

MakePlan = Callable[..., StagePlan]

HEAD = """
import json, os, socket, sqlite3, sys, tempfile, threading
from pathlib import Path

ROOT, TMP, LAUNCHER = sys.argv[1], tempfile.gettempdir(), os.getppid()
OTHER, OUT = f"{ROOT}/data/other.txt", Path("data/out")
OUT.mkdir()
inet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dep = open("data/in.txt")
FROM_HERE = os.path.relpath(OTHER, os.getcwd())


def read(path):
    with open(path) as stream:
        return stream.read(1)


def write(path):
    with open(path, "a") as stream:
        stream.write("changed")


def link(target, place):
    os.symlink(target, place)
    return place


def below(folder, name, flags=os.O_RDONLY, **more):
    start = os.open(folder, os.O_RDONLY)
    os.close(os.open(name, flags, dir_fd=start))


def unix(place):
    socket.socket(socket.AF_UNIX).connect(place)


def outcome(attempt):
    try:
        attempt()
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "nothing happened"


def tell(attempts):
    Path("data/out/ended.json").write_text(json.dumps({name: outcome(each) for name, each in attempts.items()}))
"""

# each has to be refused
ATTACKS = """
os.symlink(os.path.abspath("data/in.txt"), "data/out/to-dep")
tell({
    "the root of this process": lambda: read(f"/proc/self/root{OTHER}"),
    "the root of this process, as bytes": lambda: read(f"/proc/self/root{OTHER}".encode()),
    "the root of this process, by number": lambda: read(f"/proc/{os.getpid()}/root{OTHER}"),
    "the root of a thread": lambda: read(f"/proc/thread-self/root{OTHER}"),
    "the root of a thread, by number": lambda: read(f"/proc/self/task/{threading.get_native_id()}/root{OTHER}"),
    "the working folder of this process": lambda: read(f"/proc/self/cwd/{FROM_HERE}"),
    "/dev/fd and ..": lambda: read(f"/dev/fd/../root{OTHER}"),
    "the launcher's environment": lambda: read(f"/proc/{LAUNCHER}/environ"),
    "the launcher's environment, of a thread": lambda: read(f"/proc/{LAUNCHER}/task/{LAUNCHER}/environ"),
    "the launcher's memory": lambda: read(f"/proc/{LAUNCHER}/mem"),
    "the launcher's open files": lambda: os.listdir(f"/proc/{LAUNCHER}/fd"),
    "one of the launcher's open files": lambda: read(f"/proc/{LAUNCHER}/fd/0"),
    "the launcher's root": lambda: read(f"/proc/{LAUNCHER}/root/etc/hosts"),
    "the launcher's working folder": lambda: os.listdir(f"/proc/{LAUNCHER}/cwd"),
    "the first process's environment": lambda: read("/proc/1/environ"),
    "the memory of the machine": lambda: read("/proc/kcore"),
    "this process's memory, to write": lambda: write("/proc/self/mem"),
    "the folder of the project": lambda: os.listdir(f"/proc/self/root{ROOT}"),
    "a link in the temporary folder": lambda: read(link(OTHER, f"{TMP}/x")),
    "a link to a folder in an out": lambda: read(link(f"{ROOT}/data", "data/out/data") + "/other.txt"),
    "a link in shared memory": lambda: read(link(OTHER, f"/dev/shm/capillary-{os.getpid()}")),
    "links to links": lambda: read(link(link(OTHER, f"{TMP}/y"), "data/out/y")),
    "beside a dep": lambda: write("stages/../data/out/former.txt"),
    "a new file beside a dep": lambda: write("stages/../data/out/new.txt"),
    "from an open folder": lambda: below("/usr", os.path.relpath(OTHER, "/usr")),
    "a link from an open folder": lambda: below(TMP, os.path.basename(link(OTHER, f"{TMP}/z"))),
    "to write, from an open folder": lambda: below("stages", "__init__.py", os.O_WRONLY),
    "a dep, opened again to write": lambda: write(f"/proc/self/fd/{dep.fileno()}"),
    "a dep, opened again by /dev/fd": lambda: write(f"/dev/fd/{dep.fileno()}"),
    "the mode of an open dep": lambda: os.fchmod(dep.fileno(), 0o777),
    "the times of an open dep": lambda: os.utime(dep.fileno()),
    "the owner of an open dep": lambda: os.chown(dep.fileno(), -1, -1),
    "an attribute of a dep": lambda: os.setxattr("data/in.txt", b"user.x", b"1"),
    "to write by the root": lambda: write(f"/proc/self/root{OTHER}"),
    "to truncate by the root": lambda: os.truncate(f"/proc/self/root{OTHER}", 0),
    "to remove by the root": lambda: os.remove(f"/proc/self/root{OTHER}"),
    "to change the mode by the root": lambda: os.chmod(f"/proc/self/root{OTHER}", 0o777),
    "to rename by the root": lambda: os.rename(f"/proc/self/root{OTHER}", f"/proc/self/root{ROOT}/data/x"),
    "to link by the root": lambda: os.link(f"/proc/self/root{OTHER}", "data/out/hard"),
    "to link from the root": lambda: os.symlink("x", f"/proc/self/root{ROOT}/data/x"),
    "to make a folder by the root": lambda: os.mkdir(f"/proc/self/root{ROOT}/data/x"),
    "a hard link to what a link leads to": lambda: os.link(
        "to-dep", "data/out/hard", src_dir_fd=os.open("data/out", os.O_RDONLY), follow_symlinks=True
    ),
    "a database by its URI": lambda: sqlite3.connect(f"file:{OTHER}?mode=ro", uri=True),
    "a message": lambda: inet.sendmsg([b"x"], [], 0, ("127.0.0.1", 9)),
    "to listen beyond the loopback": lambda: inet.bind(("0.0.0.0", 0)),
    "to ask for an address": lambda: socket.getaddrinfo("secret.example.org", 80),
    "to ask for an address, in the old way": lambda: socket.gethostbyname("secret.example.org"),
    "to ask for a name like a loopback address": lambda: socket.getaddrinfo("127.secret.example.org", 80),
    "to ask for a name like the loopback's": lambda: socket.getaddrinfo("localhost.secret.example.org", 80),
    "to ask for a name like this machine's": lambda: socket.getaddrinfo(f"{socket.gethostname()}.x.org", 80),
    "to ask for an address with a zone": lambda: socket.getaddrinfo("192.0.2.1%secret.example.org", 80),
    "the daemon's socket": lambda: unix("/var/run/docker.sock"),
    "the daemon's socket by the root": lambda: unix("/proc/self/root/run/docker.sock"),
    "a socket in the project": lambda: socket.socket(socket.AF_UNIX).bind(f"{ROOT[:40]}x.sock"),
})
Path("/dev/shm", f"capillary-{os.getpid()}").unlink(missing_ok=True)
for name in ("data", "y", "to-dep"):
    (OUT / name).unlink(missing_ok=True)
"""

# each has to work
USUAL = """
own = open("data/out/own.txt", "w+")
memory = os.memfd_create("x")
shared = f"/dev/shm/capillary-{os.getpid()}"


def write_and_read(number):
    write(f"/proc/self/fd/{number}")
    read(f"/dev/fd/{number}")


def with_a_folder():
    os.makedirs(f"{TMP}/deep/stages/data")
    __import__("shutil").rmtree(f"{TMP}/deep")


tell({
    "its own state": lambda: [read(f"/proc/self/{name}") for name in ("status", "maps", "environ", "mountinfo")],
    "its threads": lambda: read(f"/proc/self/task/{threading.get_native_id()}/stat"),
    "its open files": lambda: os.listdir("/proc/self/fd"),
    "its mounts": lambda: read("/proc/mounts"),
    "the machine": lambda: [read(f"/proc/{name}") for name in ("meminfo", "cpuinfo", "stat", "loadavg")],
    "how large other processes are": lambda: [read(f"/proc/{LAUNCHER}/{name}") for name in ("statm", "stat", "status")],
    "an out, opened again": lambda: write_and_read(own.fileno()),
    "memory without a name, opened again": lambda: write_and_read(memory),
    "a dep, opened again to read": lambda: read(f"/proc/self/fd/{dep.fileno()}"),
    "a pipe by its name": lambda: open(f"/dev/fd/{os.pipe()[1]}", "w").close(),
    "standard error": lambda: open("/dev/stderr", "a").close(),
    "a system file by the root": lambda: read("/proc/self/root/etc/hosts"),
    "an out by the working folder": lambda: write("/proc/self/cwd/data/out/x"),
    "a dep by the working folder": lambda: read("/proc/self/cwd/data/in.txt"),
    "devices": lambda: (read("/dev/zero"), write("/dev/null")),
    "shared memory": lambda: (write(shared), read(shared), os.remove(shared)),
    "a link in an out": lambda: read(link("own.txt", "data/out/link")),
    "a link in an out to a dep": lambda: read(link(os.path.abspath("data/in.txt"), f"{TMP}/in")),
    "the mode of an open out": lambda: os.fchmod(own.fileno(), 0o600),
    "a folder in the temporary folder": with_a_folder,
    "its own name": lambda: Path("/proc/self/comm").write_text("stage"),
    "to listen at the loopback": lambda: inet.bind(("127.0.0.1", 0)),
    "this machine's names": lambda: socket.getaddrinfo("localhost", 80),
    "an address": lambda: socket.getaddrinfo("192.0.2.1", 80),
    "a database in memory": lambda: sqlite3.connect("file:x?mode=memory", uri=True).close(),
    "a database in an out": lambda: sqlite3.connect("file:data/out/x.db", uri=True).close(),
})
(OUT / "link").unlink()
"""


def ended(make_plan: MakePlan, root: Path, source: str) -> dict[str, str]:
    """What became of each attempt in a stage that runs `source`."""
    folder = root / "stages/toy"
    folder.mkdir()
    for package in (root / "stages", folder):
        (package / "__init__.py").write_text("")
    (folder / "__main__.py").write_text(textwrap.dedent(HEAD + source))
    (root / "data/out").mkdir()
    (root / "data/out/former.txt").write_text("former")
    told: list[dict[str, str]] = []
    plan = make_plan("data/in.txt", "stages", argv=(str(root),))
    assert execute(plan, Stop(), lambda work: told.append(json.loads((work / "data/out/ended.json").read_text()))) == 0
    return told[0]


def test_no_other_name_leads_to_what_is_not_declared(
    make_plan: MakePlan, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Fifty ways, each refused by the guard, not by chance; no file has changed, and nobody is bothered with notes."""
    told = ended(make_plan, root, ATTACKS)
    assert len(told) == 54
    assert {name: how for name, how in told.items() if not how.startswith("UndeclaredAccess: ")} == {}
    assert (root / "data/other.txt").read_text() == "data/other.txt"
    assert (root / "data/out/former.txt").read_text() == "former"
    assert sorted(path.name for path in (root / "data").rglob("*")) == ["former.txt", "in.txt", "other.txt", "out"]
    assert capfd.readouterr().err == ""
    leads = "toy@a may not read {place} (which leads to data/other.txt): "
    assert leads.format(place=f"/proc/self/root{root}/data/other.txt") in told["the root of this process"]
    assert "toy@a may not read data/out/data/other.txt (which leads to" in told["a link to a folder in an out"]


def test_what_libraries_do_by_these_names_still_works(make_plan: MakePlan, root: Path) -> None:
    """Their own state and open files, shared memory, the loopback; how large their workers are."""
    told = ended(make_plan, root, USUAL)
    assert len(told) == 26
    assert {name: how for name, how in told.items() if how != "nothing happened"} == {}
