"""Plans run as real processes, each with its guard."""

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from capillary.executors.process.execute import environment_of, execute, policy_of
from capillary.executors.sandbox import GUARD_MODULE, sandbox
from capillary.lifetimes.stop import Stop, listening
from capillary.planning.plan import StagePlan
from stages.common.errors import CapillaryError, ExitCode

HEAD = """
import json, os, signal, socket, subprocess, sys, time
from pathlib import Path

OUT = Path("data/out")

"""
MakeStage = Callable[..., StagePlan]


@pytest.fixture
def make_stage(make_plan: Callable[..., StagePlan], root: Path) -> MakeStage:
    """The plan of a stage that runs `source` and makes the out data/out."""

    def make(source: str, *argv: str, **changes: object) -> StagePlan:
        folder = root / "stages/toy"
        folder.mkdir()
        for package in (root / "stages", folder):
            (package / "__init__.py").write_text("")
        (folder / "__main__.py").write_text(HEAD + textwrap.dedent(source))
        return make_plan("data/in.txt", "stages", argv=argv, **changes)

    return make


class Publish:
    """Keeps what the out held when it was published."""

    def __init__(self) -> None:
        self.published: list[str] = []

    def __call__(self, work: Path) -> None:
        self.published.append((work / "data/out").read_text())


@pytest.fixture
def publish() -> Publish:
    return Publish()


def left(plan: StagePlan) -> list[Path]:
    return list((plan.repository / ".capillary/sandbox").iterdir())


def test_the_outs_of_a_stage_that_ends_well_are_published(make_stage: MakeStage, publish: Publish) -> None:
    """It runs as `python -m` would run it, with its arguments, an empty stdin and its writable folder."""
    source = """
        Path(os.environ["KEPT"], "checkpoint").touch()
        text = Path("data/in.txt").read_text()
        OUT.write_text(" ".join([__name__, *sys.argv[1:], text, repr(sys.stdin.read())]))
    """
    plan = make_stage(source, "--fold", "1")
    kept = plan.state_dir
    environment = {**plan.environment, "KEPT": str(kept)}
    plan = dataclasses.replace(plan, writable=(kept,), environment=environment)
    assert execute(plan, Stop(), publish) == 0
    assert publish.published == ["__main__ --fold 1 data/in.txt ''"]
    assert (kept / "checkpoint").is_file()
    assert left(plan) == []


def test_a_stage_that_fails_publishes_nothing(make_stage: MakeStage, publish: Publish) -> None:
    """Its exit code is kept."""
    plan = make_stage("OUT.write_text('half')\nsys.exit(3)")
    assert execute(plan, Stop(), publish) == 3
    assert publish.published == []
    assert left(plan) == []


@pytest.mark.parametrize(
    ("source", "code"),
    [("", ExitCode.UNEXPECTED), ("os.system('echo x > data/stray')\nOUT.touch()", ExitCode.UNDECLARED)],
    ids=["no out", "a stray file"],
)
def test_outs_are_checked_before_they_are_published(
    make_stage: MakeStage, publish: Publish, source: str, code: ExitCode
) -> None:
    """The guard does not see what other programs write."""
    plan = make_stage(source)
    with pytest.raises(CapillaryError) as caught:
        execute(plan, Stop(), publish)
    assert caught.value.code == code
    assert publish.published == []
    assert left(plan) == []


@pytest.mark.parametrize(
    ("number", "hint"),
    [(signal.SIGKILL, "; the machine may have run out of memory (see dmesg)"), (signal.SIGUSR1, "")],
)
def test_a_stage_that_a_signal_ended_is_named(
    make_stage: MakeStage, publish: Publish, capfd: pytest.CaptureFixture[str], number: signal.Signals, hint: str
) -> None:
    """The exit code is a shell's."""
    plan = make_stage(f"OUT.touch()\nos.kill(os.getpid(), {int(number)})")
    assert execute(plan, Stop(), publish) == 128 + number
    assert capfd.readouterr().err == f"toy@a was ended by {number.name}{hint}\n"
    assert publish.published == []


def test_after_a_request_no_stage_starts(
    make_stage: MakeStage, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came while the plan was made: not even the interpreter is started."""
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: started.append(arguments))
    stop = Stop()
    stop.receive(signal.SIGTERM, None)
    assert execute(make_stage("OUT.touch()"), stop, publish) == 143
    assert (publish.published, started) == ([], [])


# In each the stage itself asks the launcher, its parent, to stop. It sleeps in steps where it is to notice the answer:
# Python runs no handler in a sleep for a signal that came just before it.
POLITE = """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.kill(os.getppid(), signal.SIGTERM)
    for _ in range(600): time.sleep(0.1)
"""
INTERRUPTED = """
    os.kill(os.getppid(), signal.SIGINT)
    for _ in range(600): time.sleep(0.1)
"""
STUBBORN = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)
"""
FINISHING = """
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append("asked"))
    os.kill(os.getppid(), signal.SIGTERM)
    while not asked:
        time.sleep(0.01)
    OUT.write_text("made")
"""
KILLED = "toy@a did not end within 0.1 s (CAPILLARY_GRACE_S) after the request to stop, and was killed"


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(
    ("source", "grace_s", "code", "said", "published"),
    [
        (POLITE, 30.0, 143, [], []),
        (INTERRUPTED, 30.0, 130, [], []),
        (STUBBORN, 0.1, 143, [KILLED], []),
        (FINISHING, 30.0, 143, [], ["made"]),
    ],
    ids=["ends by itself", "ended by the signal", "killed", "finishes"],
)
def test_a_request_ends_the_stage(
    make_stage: MakeStage,
    publish: Publish,
    capfd: pytest.CaptureFixture[str],
    source: str,
    grace_s: float,
    code: int,
    said: list[str],
    published: list[str],
) -> None:
    """The exit code is that of the request; what was finished all the same is published."""
    plan = make_stage(source, grace_s=grace_s)
    with listening() as stop:
        assert execute(plan, stop, publish) == code
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("toy@a ")] == said
    assert publish.published == published
    assert left(plan) == []


def test_what_a_stage_left_running_is_killed_before_its_outs_are_published(make_stage: MakeStage, root: Path) -> None:
    """It could still write. The pipe that it holds open closes with its end."""
    folder = root / "mlruns"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    source = f"""
        pipe = os.open({str(folder / "pipe")!r}, os.O_WRONLY)
        subprocess.Popen(["sleep", "60"], stdout=pipe)
        OUT.touch()
    """
    ends = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    seen = []
    plan = make_stage(source, writable=(folder,))
    assert execute(plan, Stop(), lambda _work: seen.append(select.select([ends], [], [], 10)[0])) == 0
    assert seen == [[ends]]
    os.close(ends)


def test_a_stage_that_fails_on_a_refusal_says_which(
    make_stage: MakeStage, publish: Publish, capfd: pytest.CaptureFixture[str], root: Path
) -> None:
    """With its line of code; also when another Python process of the stage was refused."""
    source = """
        subprocess.run([sys.executable, "-c", "import sys; open(sys.argv[1])", sys.argv[1]])
        open(sys.argv[1])
    """
    plan = make_stage(source, str(root / "data/other.txt"))
    assert execute(plan, Stop(), publish) == ExitCode.UNDECLARED
    err = capfd.readouterr().err
    assert "UndeclaredAccess: toy@a may not read data/other.txt" in err
    assert "  what:   toy@a may not read data/other.txt" in err


# each has to be refused
ATTEMPTS = """
    import shutil

    OUT.mkdir()
    os.symlink(os.path.realpath("data/in.txt"), "data/out/link")
    link, dep = "data/out/link", "__init__.py"
    folder = os.open(os.path.realpath("stages"), os.O_RDONLY)
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    attempts = {
        "chmod": lambda: os.chmod(link, 0o777),
        "chown": lambda: os.chown(link, -1, -1),
        "utime": lambda: os.utime(link),
        "truncate": lambda: os.truncate(link, 0),
        "open": lambda: open(link, "a"),
        "chmod in a folder": lambda: os.chmod(dep, 0o777, dir_fd=folder),
        "chown in a folder": lambda: os.chown(dep, -1, -1, dir_fd=folder),
        "utime in a folder": lambda: os.utime(dep, dir_fd=folder),
        "remove in a folder": lambda: os.unlink(dep, dir_fd=folder),
        "rmdir in a folder": lambda: os.rmdir("toy", dir_fd=folder),
        "mkdir in a folder": lambda: os.mkdir("new", dir_fd=folder),
        "symlink in a folder": lambda: os.symlink("x", "new", dir_fd=folder),
        "rename in a folder": lambda: os.rename(dep, "data/out/x", src_dir_fd=folder),
        "link in a folder": lambda: os.link("data/out/link", "new", dst_dir_fd=folder),
        "connect": lambda: connection.connect(("127.0.0.1", 9)),
        "sendto": lambda: connection.sendto(b"x", ("127.0.0.1", 9)),
        "list": lambda: os.listdir(os.path.dirname(os.path.realpath("data/in.txt"))),
    }
    ended = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            ended[name] = "nothing happened"
        except Exception as error:
            ended[name] = type(error).__name__
    shutil.rmtree("data/out")
    OUT.write_text(json.dumps(ended))
"""


def test_python_itself_tells_of_every_change(
    make_stage: MakeStage, publish: Publish, capfd: pytest.CaptureFixture[str], root: Path
) -> None:
    """Through links, in open folders and over connections; a stage that did without says nothing of it."""
    plan = make_stage(ATTEMPTS)
    before = (root / "data/in.txt").stat()
    assert execute(plan, Stop(), publish) == 0
    assert set(json.loads(publish.published[0]).values()) == {"UndeclaredAccess"}, publish.published
    assert capfd.readouterr().err == ""
    after = (root / "data/in.txt").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)


def test_a_stage_whose_launcher_is_gone_does_not_start(make_stage: MakeStage) -> None:
    """The launcher was killed in the moment in which it started the stage."""
    plan = make_stage("OUT.touch()")
    with sandbox(plan) as box:
        policy = dataclasses.replace(policy_of(plan, box), launcher_pid=os.getppid())
        file = box.base / "policy.json"
        file.write_text(json.dumps(dataclasses.asdict(policy)))
        argv = [sys.executable, "-P", "-m", GUARD_MODULE, str(file), "stages.toy"]
        done = subprocess.run(argv, cwd=box.work, env=environment_of(plan, box), check=False)
        assert done.returncode == ExitCode.UNDECLARED
        assert not (box.work / "data/out").exists()
