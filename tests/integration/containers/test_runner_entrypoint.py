"""The dvc-runner's entrypoint: becomes the owner of the checkout, names what is missing, and ends as the last one."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.support.docker.containers import client
from tests.support.docker.images import build, docker_run
from tests.support.parts import REPOSITORY, require

SOCKET = "/var/run/docker.sock"
OWNER, GROUP = 2345, 3456
# what tells the entrypoint that the image belongs to the checkout
CHECKOUT = ("pyproject.toml", "constraints.txt", "Dockerfile.dvc-runner", "services/runner", "stages/common/lifetimes")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def image() -> str:
    """The runner's image."""
    return build("Dockerfile.dvc-runner")[0]


def make_checkout(root: Path) -> Path:
    """What the entrypoint looks at, at `root`, as the files of a uid which this machine does not know."""
    require(os.geteuid() == 0, "root, to give files to another user")
    for name in CHECKOUT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, root / name)
    for path in (root, *root.rglob("*")):
        os.chown(path, OWNER, GROUP)
    return root


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that belongs to a uid which this machine does not know."""
    return make_checkout(tmp_path / "checkout")


def mounts(checkout: Path) -> tuple[str, ...]:
    """As compose mounts and confines it."""
    service = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["dvc-runner"]
    rights = [f"--cap-add={name}" for name in service["cap_add"]]
    limits = ("--init", "--cap-drop=ALL", *rights, "--security-opt=no-new-privileges")
    return (*limits, f"--volume={checkout}:/workspace", f"--volume={SOCKET}:{SOCKET}")


def run(image: str, checkout: Path, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A shell script in the runner."""
    return docker_run(*mounts(checkout), *options, image, "sh", "-c", script)


# what to ask in a container that is started as compose starts it; no answer changes another
QUESTIONS = {
    "ids": "id -u; id -g; id -G; touch made",
    "daemon": "docker version --format '{{.Server.Version}}'",
    "rights": "grep -E '^(Cap|NoNewPrivs)' /proc/self/status",
    "names": "whoami; python -c 'import getpass; print(getpass.getuser())'; touch ~/x && git config user.name",
    "keys": "env | grep -c -E 'S3_|word'; stat -c %a ~/.aws/credentials; cat ~/.aws/credentials",
    "trusted": "git config --system --get-all safe.directory",
}
KEYS = ("--env=S3_ACCESS_KEY_ID=key", "--env=S3_SECRET_ACCESS_KEY=word")


@pytest.fixture(scope="module")
def asked(image: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A checkout, and the lines with which one container in it answered each question."""
    root = make_checkout(tmp_path_factory.mktemp("asked") / "checkout")
    script = "; ".join(f"echo '# {name}'; {question}" for name, question in QUESTIONS.items())
    done = run(image, root, script, *KEYS)
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^# (\w+)\n", done.stdout, flags=re.MULTILINE)[1:]
    return root, {name: lines.splitlines() for name, lines in zip(parts[::2], parts[1::2], strict=True)}


def test_the_command_runs_as_the_checkout_s_owner(asked: tuple[Path, dict[str, list[str]]]) -> None:
    """uid and gid are the owner's, the only other group is the socket's, and a file made there is the owner's."""
    root, answers = asked
    uid, gid, groups = answers["ids"]
    assert (int(uid), int(gid)) == (OWNER, GROUP)
    assert set(map(int, groups.split())) == {GROUP, Path(SOCKET).stat().st_gid}
    assert answers["daemon"] == [client().version()["Version"]]
    made = (root / "made").stat()
    assert (made.st_uid, made.st_gid) == (OWNER, GROUP)


def test_no_right_of_root_is_kept(asked: tuple[Path, dict[str, list[str]]]) -> None:
    """Neither capabilities nor a way to get some."""
    status = dict(line.split(":\t") for line in asked[1]["rights"])
    assert status.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in status.values()} == {0}


def test_the_owner_has_a_name_and_a_home(asked: tuple[Path, dict[str, list[str]]]) -> None:
    """git, getpass and whatever keeps a file in HOME work for a uid that nobody knows."""
    assert asked[1]["names"] == ["capillary"] * 3


def test_git_trusts_the_workspace_and_no_other_folder(asked: tuple[Path, dict[str, list[str]]]) -> None:
    """safe.directory is exactly /workspace."""
    assert asked[1]["trusted"] == ["/workspace"]


def test_a_checkout_of_root_runs_as_root(image: str, checkout: Path) -> None:
    """Root's files stay root's, without root's capabilities."""
    os.chown(checkout, 0, 0)
    done = run(image, checkout, "id -u; touch made; grep CapEff /proc/self/status")
    assert done.stdout.split() == ["0", "CapEff:", "0" * 16]
    assert (checkout / "made").stat().st_uid == 0


def test_keys_of_the_store_are_a_profile_and_no_variables(asked: tuple[Path, dict[str, list[str]]]) -> None:
    """DVC finds them under the profile `team`; what runs below does not see them by accident."""
    lines = asked[1]["keys"]
    assert lines[:3] == ["0", "600", "[team]"]
    assert "aws_secret_access_key = word" in lines


def test_exit_codes_are_the_command_s(image: str, checkout: Path) -> None:
    """Also when a signal ended it, or when it cannot be started."""
    assert run(image, checkout, "exit 7").returncode == 7
    assert run(image, checkout, "kill -9 $$").returncode == 137
    done = docker_run(*mounts(checkout), image, "no-such-command")
    assert done.returncode == 127
    assert done.stderr == "error: no-such-command cannot be started in the dvc-runner: No such file or directory\n"


def commit(folder: Path, *argv: str) -> None:
    """A Git command for the tests' own repositories."""
    settings = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always")
    subprocess.run(["git", *settings, *argv], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def elsewhere(checkout: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """The checkout as a worktree or a submodule of another repository: (checkout, that repository's Git folder)."""
    main = tmp_path / "main"
    main.mkdir()
    commit(main, "init", "-q")
    commit(main, "commit", "-q", "--allow-empty", "-m", "first")
    if request.param == "worktree":
        root, whole = tmp_path / "mine", main
        commit(main, "worktree", "add", "-q", str(root))
    else:
        root, whole = tmp_path / "above" / "sub", tmp_path / "above"
        whole.mkdir()
        commit(whole, "init", "-q")
        commit(whole, "submodule", "add", "-q", str(main), "sub")
    shutil.copytree(checkout, root, dirs_exist_ok=True)
    for place in {main, whole, root}:
        for path in (place, *place.rglob("*")):
            os.chown(path, OWNER, GROUP, follow_symlinks=False)
    root.chmod(0o700)  # even root reads it as its owner alone
    return root, whole / ".git"


@pytest.mark.parametrize("elsewhere", ["worktree", "submodule"], indirect=True)
def test_git_and_dvc_find_the_folder_of_a_worktree_or_submodule(image: str, elsewhere: tuple[Path, Path]) -> None:
    """Where compose mounts it for CAPILLARY_GIT_DIR; without the mount the runner names it."""
    root, folder = elsewhere
    steps = [
        "git log --format=%s",
        "dvc init -q",
        "echo 'stages: {s: {cmd: pwd}}' > dvc.yaml",
        "git add .",
        "git commit -q -m second",
        "dvc repro -q",
        "dvc status",
    ]
    if root.name == "mine":  # docs/compose.md: no experiments in a submodule
        steps += ["dvc exp save -q -n mine", "dvc exp list --name-only"]
    script = " && ".join(steps)
    done = run(image, root, script, f"--volume={folder}:/capillary/git")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("first\n")
    assert root.name != "mine" or "mine" in done.stdout.splitlines()[-1]
    log = ["git", "-c", "safe.directory=*", "log", "-1", "--format=%s"]
    assert subprocess.run(log, cwd=root, check=True, capture_output=True, text=True).stdout == "second\n"
    refused = run(image, root, "true")
    assert refused.returncode == 2
    source = folder if root.name == "mine" else "../.git"
    assert f"set CAPILLARY_GIT_DIR={source} in .env" in refused.stderr


def test_results_that_would_end_with_the_container_are_refused(image: str, checkout: Path, tmp_path: Path) -> None:
    """At the start, and by a stage after a shell in the runner changed the configuration; not once it is mounted."""
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")
    (checkout / ".dvc" / "tmp").mkdir()
    for path in (checkout / ".dvc", *(checkout / ".dvc").rglob("*")):
        os.chown(path, OWNER, GROUP)
    late = run(image, checkout, "dvc cache dir --local /elsewhere/cache && capillary stage train")
    early = run(image, checkout, "true")
    for refused in (late, early):
        assert refused.returncode == 2, refused.stderr
        assert "DVC's cache.dir is /elsewhere/cache" in refused.stderr
        assert '["/elsewhere/cache:/elsewhere/cache"]' in refused.stderr
    assert run(image, checkout, "true", f"--volume={tmp_path}:/elsewhere/cache").returncode == 0
    (checkout / ".dvc" / "config.local").unlink()
    assert run(image, checkout, "true").returncode == 0


def refusal(image: str, *options: str) -> str:
    """The one line with which the runner refuses to start."""
    done = docker_run("--init", *options, image, "true")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "; remedy: " in done.stderr
    return done.stderr


def test_missing_mounts_are_named(image: str, checkout: Path, tmp_path: Path) -> None:
    """No checkout, no socket, a folder where the socket should be, a socket without a daemon, no checkout at all."""
    workspace = f"--volume={checkout}:/workspace"
    assert "no checkout is mounted at /workspace" in refusal(image, f"--volume={SOCKET}:{SOCKET}")
    assert f"no Docker socket is mounted at {SOCKET}" in refusal(image, workspace)
    (tmp_path / "folder").mkdir()
    assert "no Docker socket" in refusal(image, workspace, f"--volume={tmp_path / 'folder'}:{SOCKET}")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    (tmp_path / "dead.sock").chmod(0o777)
    assert "no Docker daemon answers" in refusal(image, workspace, f"--volume={tmp_path / 'dead.sock'}:{SOCKET}")
    empty = refusal(image, f"--volume={tmp_path / 'folder'}:/workspace", f"--volume={SOCKET}:{SOCKET}")
    assert "is not a checkout of capillary" in empty


def test_an_outdated_image_is_named(image: str, checkout: Path) -> None:
    """A pull that changes requirements cannot meet an image that was built before it."""
    with (checkout / "constraints.txt").open("a") as file:
        file.write("new==1.0\n")
    assert "docker compose build dvc-runner" in refusal(image, *mounts(checkout)[1:])


def test_the_runner_waits_for_what_was_left_in_the_background(image: str, checkout: Path) -> None:
    """`dvc queue start` leaves a worker and returns: the container continues until the worker has ended, and says
    why.
    """
    done = run(image, checkout, "setsid sh -c 'sleep 3; touch late' >/dev/null 2>&1 & true")
    assert done.returncode == 0
    assert (checkout / "late").exists()
    assert "waiting for processes left in the background" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_outlives_the_command_gets_its_time(image: str, checkout: Path, number: signal.Signals) -> None:
    """DVC dies of a SIGTERM at once, the launcher below it needs seconds: the container ends after both."""
    script = """
        setsid python -c "
import signal, sys, time
def end(*_):
    time.sleep(2)
    open('saved', 'w').close()
    sys.exit()
signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGINT, end)
open('ready', 'w').close()
time.sleep(60)" &
        exec python -c "import time, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); time.sleep(60)"
    """
    with subprocess.Popen(["docker", "run", "--rm", *mounts(checkout), image, "sh", "-c", script.strip()]) as process:
        wait_for(checkout / "ready")
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
    assert (checkout / "saved").exists()


def test_who_does_not_end_is_killed_after_the_grace_period(image: str, checkout: Path) -> None:
    """docker stop ends in bounded time, whatever the command does."""
    options = ("--detach", "--env=CAPILLARY_GRACE_S=1", *mounts(checkout))
    script = "trap '' TERM; touch ready; while true; do sleep 1; done"
    argv = ["docker", "run", *options, image, "sh", "-c", script]
    name = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    try:
        wait_for(checkout / "ready")
        started = time.monotonic()
        subprocess.run(["docker", "stop", "--time", "30", name], check=True, capture_output=True)
        assert 5 < time.monotonic() - started < 15
        logs = subprocess.run(["docker", "logs", name], check=True, capture_output=True, text=True).stderr
        assert "sh did not end within 6 s and was killed" in logs
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def wait_for(file: Path, within_s: float = 30) -> None:
    """Until `file` is there."""
    deadline = time.monotonic() + within_s
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} was not made"
        time.sleep(0.1)
