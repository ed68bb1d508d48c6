"""What DVC writes must outlive the dvc-runner: its paths against the container's mounts."""

import contextlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.parts import REPOSITORY
from tests.unit.services.conftest import Load

NAMELESS = "a" * 64
MOUNTINFO = f"""\
100 50 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/x
101 100 0:60 / /proc rw - proc proc rw
102 100 0:61 / /tmp rw,nosuid - tmpfs tmpfs rw
103 100 8:1 /home/me/capillary {{workspace}} rw,relatime - ext4 /dev/sda1 rw
104 100 8:2 /big /data/my\\040cache rw - ext4 /dev/sdb1 rw
105 100 8:1 /var/lib/docker/volumes/named/_data /named rw - ext4 /dev/sda1 rw
106 100 8:1 /var/lib/docker/volumes/{NAMELESS}/_data /nameless rw - ext4 /dev/sda1 rw
107 100 0:70 /mine /host-memory rw - tmpfs tmpfs rw
108 100 0:71 / /nas rw - nfs4 nas:/export rw
109 103 0:72 / {{workspace}}/scratch rw - tmpfs tmpfs rw
"""


@pytest.fixture
def places(load: Load) -> ModuleType:
    return load("runner/dvc_places.py")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a DVC folder, and no configuration but its own."""
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    for level in ("SYSTEM", "GLOBAL"):
        monkeypatch.setenv(f"DVC_{level}_CONFIG_DIR", str(tmp_path / level))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(root / ".dvc/tmp/runner"))  # as in the image
    (tmp_path / "mountinfo").write_text(MOUNTINFO.format(workspace=root))
    return root


def refusal(places: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which the runner refuses to start; empty when it does not."""
    with contextlib.suppress(SystemExit):
        places.refuse_lost(checkout, checkout.parent / "mountinfo")
    said = capsys.readouterr().err
    assert said.count("\n") <= 1
    return said


@pytest.mark.parametrize(
    ("path", "lasts"),
    [
        ("/anywhere", False),
        ("/tmp/cache", False),
        ("/data/my cache/files", True),
        ("/data/my cache beside", False),
        ("/named/x", True),
        ("/nameless/x", False),
        ("/host-memory/x", True),
        ("/nas", True),
        ("/workspace/data", True),
        ("/workspace/scratch/x", False),
    ],
)
def test_a_path_lasts_as_its_innermost_mount_does(load: Load, path: str, lasts: bool) -> None:
    """The container's own layer, memory and volumes without a name end with it."""
    mounts = load("runner/mounts.py")
    assert mounts.mount_of(path, mounts.parse(MOUNTINFO.format(workspace="/workspace"))).lasts is lasts


@pytest.mark.parametrize("level", ["SYSTEM", "GLOBAL", "config", "config.local"])
def test_a_cache_in_the_container_is_refused_from_every_level(
    places: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    """DVC merges them; a later one wins."""
    file = checkout.parent / level / "config" if level.isupper() else checkout / ".dvc" / level
    file.parent.mkdir(exist_ok=True)
    file.write_text("[cache]\n    dir = /tmp/cache\n")
    said = refusal(places, checkout, capsys)
    assert "DVC's cache.dir is /tmp/cache" in said
    assert 'services: {dvc-runner: {volumes: ["/tmp/cache:/tmp/cache"]}}' in said
    (checkout / ".dvc/config.local").write_text("[cache]\n    dir = /named/cache\n")
    assert refusal(places, checkout, capsys) == ""


@pytest.mark.parametrize(
    ("config", "key", "volume"),
    [
        ("[cache]\n    dir = ../../beside\n", "cache.dir", "../beside:{parent}/beside"),
        ("['remote \"lab\"']\n    url = /srv/store\n", "remote.lab.url", "/srv/store:/srv/store"),
        ("['remote \"lab\"']\n    url = ../../store\n", "remote.lab.url", "../store:{parent}/store"),
        ("['remote \"lab\"']\n    url = ~/store\n", "remote.lab.url", "~/store:{home}/store"),
        ("['remote \"lab\"']\n    url = file:///srv/a%20b\n", "remote.lab.url", "/srv/a b:/srv/a b"),
        ("[cache]\n    dir = scratch\n", "", ""),
        ("[cache]\n    dir = /data/my cache\n['remote \"lab\"']\n    url = s3://bucket/x\n", "", ""),
        ("['remote \"lab\"']\n    url = /nas/dvc\n['remote \"on\"']\n    url = remote://lab/on\n", "", ""),
        ("[core]\n    site_cache_dir = /tmp/site\n", "", ""),
        ("[cache]\n    dir = [broken\n", "", ""),
    ],
)
def test_what_dvc_writes_to_is_checked(
    places: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str], config: str, key: str, volume: str
) -> None:
    """Relative paths keep the host's name; servers are not the container's; the site cache is in the checkout."""
    (checkout / ".dvc/config").write_text(config)
    said = refusal(places, checkout, capsys)
    wanted = volume.format(parent=checkout.parent, home=Path.home())
    assert (key in said and f'["{wanted}"]' in said) if key else said == ""


def test_the_image_keeps_the_site_cache_in_the_checkout(
    places: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its variable wins over core.site_cache_dir; a value in .env that leads out of all mounts is refused."""
    dockerfile = (REPOSITORY / "Dockerfile.dvc-runner").read_text()
    assert " DVC_SITE_CACHE_DIR=/workspace/.dvc/tmp/runner\n" in dockerfile
    (checkout / ".dvc/config").write_text("[core]\n    site_cache_dir = /tmp/site\n")
    for value, said in (("/named/site", ""), ("/srv/site", "/srv/site:/srv/site"), ("", "/tmp/site:/tmp/site")):
        monkeypatch.setenv("DVC_SITE_CACHE_DIR", value)
        found = refusal(places, checkout, capsys)
        assert (f'["{said}"]' in found and "remove DVC_SITE_CACHE_DIR from .env" in found) if said else found == ""


def test_a_link_to_a_cache_outside_is_followed(
    places: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """.dvc/cache itself may lead away, by a path of the host or from the checkout."""
    cache = checkout / ".dvc" / "cache"
    cache.symlink_to("/srv/cache")
    assert '["/srv/cache:/srv/cache"]' in refusal(places, checkout, capsys)


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ("type = symlink", True),
        ("type = reflink,symlink", True),
        ("type = symlink,copy", True),
        ("type = hardlink,symlink", False),
        ("type = copy,symlink", False),
        ("dir = /named/cache\n    type = symlink", False),
        ("dir = /named/cache\n    type = hardlink,symlink", False),
        ("", False),
    ],
)
def test_links_that_only_the_container_could_follow_are_refused(
    places: ModuleType, checkout: Path, capsys: pytest.CaptureFixture[str], config: str, refused: bool
) -> None:
    """DVC's links are absolute: into the checkout they hold this container's name of it."""
    (checkout / ".dvc/config").write_text(f"[cache]\n    {config}\n")
    said = refusal(places, checkout, capsys)
    assert ("DVC's cache.type makes links" in said) is refused


def test_without_a_dvc_folder_there_is_nothing_to_lose(
    places: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DVC says that there is none."""
    assert refusal(places, tmp_path, capsys) == ""


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (["dvc", "repro"], True),
        (["capillary", "experiment"], True),
        (["sh"], True),
        (["dvc", "config", "cache.dir", "x"], False),
        (["dvc", "cache", "dir", "x"], False),
        (["dvc", "remote", "modify"], False),
    ],
)
def test_every_command_is_checked_but_those_that_correct_it(
    load: Load, monkeypatch: pytest.MonkeyPatch, argv: list[str], asked: bool
) -> None:
    """The remedy must be in reach."""
    supervise = load("runner/supervise.py")
    ran: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(supervise.subprocess, "run", run)
    if asked:
        with pytest.raises(SystemExit) as caught:
            supervise.refuse_lost_results(argv)
        assert caught.value.code == 2
        assert ran == [[sys.executable, "-E", "-s", str(REPOSITORY / "services/runner/dvc_places.py")]]
    else:
        supervise.refuse_lost_results(argv)
        assert ran == []
