"""Where projects, data and daemons lie: what users' machines look like, with the container executor."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.docker.containers import DOCKERFILE, LIMITS, ContainerToy, client
from tests.support.warm import with_warm_commands

MODES = """
def copy(state, times):
    write([0], times)

def tell(state, times):
    (OUT / "uid").write_text(f"{os.geteuid()}:{os.getegid()}")
    (OUT / "environment").write_text("\\n".join(sorted(os.environ)))
    print("on stdout", flush=True)
    print("on stderr", file=sys.stderr, flush=True)

def listing(state, times):
    names = sorted(str(path) for path in Path("data/folder").rglob("*") if path.read_text())
    (OUT / "names").write_text("\\n".join(names))
"""
MakeToy = Callable[..., ContainerToy]


@pytest.fixture
def make_toy(tmp_path: Path) -> Iterator[MakeToy]:
    client()
    made: list[ContainerToy] = []

    def make(name: str = "toy", **more: str) -> ContainerToy:
        made.append(ContainerToy(tmp_path / name, MODES, **more))
        return made[-1]

    yield make
    for toy in made:
        assert toy.left(within_s=15) == []


def test_a_project_behind_a_link_whose_path_has_spaces_and_other_signs(make_toy: MakeToy, tmp_path: Path) -> None:
    """Colons and commas separate fields on docker's command line; here they are part of names. `cd` through a link."""
    toy = make_toy("my project: a,b (2)")
    (tmp_path / "link").symlink_to(toy.root)
    toy.set("copy", 2)
    environment = with_warm_commands(toy.environment(PWD=str(tmp_path / "link")))
    done = subprocess.run(["dvc", "repro"], cwd=tmp_path / "link", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert toy.parts() == {"0.txt": "hello\nhello\n"}
    assert toy.leftovers() == []


def test_deps_of_links_and_outside_of_the_project(make_toy: MakeToy, tmp_path: Path) -> None:
    """Under cache.type symlink a dep is a folder of links to absolute places in DVC's cache.

    ingest.source may be ../stacks, /mnt/stacks or a link to either.
    """
    toy = make_toy()
    folder = toy.root / "data" / "folder"
    folder.mkdir()
    (folder / "a b.txt").write_text("a")
    toy.run("dvc", "config", "cache.type", "symlink")
    assert toy.run("dvc", "add", "data/folder").returncode == 0
    assert (folder / "a b.txt").is_symlink()
    for name in ("my neighbour", "absolute", "linked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    (toy.root / "data" / "link").symlink_to(tmp_path / "linked")
    deps = ["../my neighbour", str(tmp_path / "absolute"), "data/link"]
    dvc_yaml = toy.root / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("data/in.txt", ", ".join(["data/folder", *deps])))
    modes = toy.root / "stages/toy/modes.py"
    text = "".join(
        f"\n    (OUT / '{place}').write_text(Path('{dep}/x.txt').read_text())" for place, dep in enumerate(deps)
    )
    modes.write_text(f"{modes.read_text()}\ndef outside(state, times):\n    listing(state, times){text}\n")
    toy.set("outside")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert toy.parts() == {"0": "my neighbour", "1": "absolute", "2": "linked", "names": "data/folder/a b.txt"}


def test_temporary_experiments(make_toy: MakeToy) -> None:
    """`dvc exp run --temp` runs in .dvc/tmp/exps of the project."""
    toy = make_toy()
    done = toy.run("dvc", "exp", "run", "--temp", "-S", "toy.times=3")
    assert done.returncode == 0, done.stderr
    assert toy.run("dvc", "exp", "apply", done.stdout.split("Ran experiment(s): ")[1].split()[0]).returncode == 0
    assert toy.parts() == {"0.txt": "hello\n" * 3}
    assert list(toy.root.rglob(".capillary")) == [toy.root / ".capillary"]


def test_the_stage_runs_as_the_caller_and_what_it_prints_is_kept(make_toy: MakeToy) -> None:
    """stdout and stderr apart, live and in a file; variables of the machine stay out."""
    toy = make_toy()
    toy.set("tell")
    done = toy.repro(TOY_TOKEN="t")
    assert done.returncode == 0, done.stderr
    out = toy.root / "data/out"
    assert (out / "uid").read_text() == f"{os.geteuid()}:{os.getegid()}"
    assert out.stat().st_uid == os.geteuid()
    names = set((out / "environment").read_text().splitlines())
    assert {"TOY_TOKEN", "TOY_ROOT"} <= names
    assert not any(name.startswith("CAPILLARY_") for name in names)
    assert {"SECRET_TOKEN", "VIRTUAL_ENV", "SSH_AUTH_SOCK"}.isdisjoint(names)
    assert "on stdout" in done.stdout
    assert "on stderr" in done.stderr
    (log,) = (toy.root / ".capillary/logs").glob("toy-*.log")
    assert "on stdout" in log.read_text()
    assert "on stderr" in log.read_text()


def test_a_gpu_that_is_required_and_missing_fails_in_one_line(make_toy: MakeToy) -> None:
    """Before anything is built or started; `auto` says that it continues without."""
    if "nvidia" in client().info()["Runtimes"]:
        pytest.skip("this machine's daemon has GPUs")
    access = f"toy: {{network: none, env: [TOY_*], resume: true, {LIMITS}}}\n"
    toy = make_toy("required", access=access.replace("gpu: none", "gpu: required"))
    toy.set("copy")
    done = toy.repro()
    assert "error: toy requires a GPU" in done.stderr
    assert "exited with 6" in done.stderr
    assert toy.parts() is None
    toy = make_toy("auto", access=access.replace("gpu: none", "gpu: auto"))
    toy.set("copy")
    done = toy.repro(CAPILLARY_TORCH="cpu")
    assert done.returncode == 0, done.stderr
    assert "containers get no GPU on this machine; it runs on the CPU" in done.stdout


def test_an_image_that_cannot_be_built_is_named(make_toy: MakeToy) -> None:
    """With the end of the build's output; nothing of the previous outs is lost."""
    toy = make_toy(dockerfile=DOCKERFILE.replace("RUN python", "RUN echo the reason is here >&2 && false && python"))
    toy.set("copy")
    done = toy.repro()
    assert "the image of toy could not be built" in done.stderr
    assert "the reason is here" in done.stderr
    assert "stages/toy/Dockerfile" in done.stderr
    assert "exited with 6" in done.stderr


def test_a_base_image_that_does_not_exist_is_named(make_toy: MakeToy) -> None:
    """CAPILLARY_BASE_IMAGE with a typing error."""
    toy = make_toy()
    toy.set("copy")
    done = toy.repro(CAPILLARY_BASE_IMAGE="pythn.invalid/none:3")
    assert "the image of toy could not be built" in done.stderr
    assert "pythn.invalid/none:3" in done.stderr


def test_without_the_docker_command_images_cannot_be_built_and_it_says_so(make_toy: MakeToy, tmp_path: Path) -> None:
    """The daemon answers, but the client is not installed."""
    toy = make_toy(dockerfile=DOCKERFILE + "LABEL never=built-before\n")
    toy.set("copy")
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in toy.environment()["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*") if Path(folder).is_dir() else ():
            if program.name != "docker" and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    done = toy.repro(PATH=str(programs))
    assert "docker command, which is not on PATH" in done.stderr
    assert "exited with 6" in done.stderr


def test_a_daemon_that_does_not_answer(make_toy: MakeToy, tmp_path: Path) -> None:
    """Asked for, it is an error that says what to do; `auto` runs a plain process."""
    toy = make_toy()
    toy.set("copy")
    nowhere = f"unix://{tmp_path}/no.sock"
    done = toy.repro(DOCKER_HOST=nowhere)
    assert "the Docker daemon does not answer" in done.stderr
    assert "exited with 7" in done.stderr
    done = toy.repro(DOCKER_HOST=nowhere, CAPILLARY_EXECUTOR="auto")
    assert done.returncode == 0, done.stderr
    assert toy.parts() == {"0.txt": "hello\n"}


def test_ps_and_clean_see_this_project_alone(make_toy: MakeToy) -> None:
    """A container of another project, and one that is nobody's, stay; one whose launcher has died is ended."""
    toy, other = make_toy("one"), make_toy("other")
    image = client().images.get("python:3.11-slim-bookworm")
    started = []
    for label in (
        {
            "capillary.project": str(toy.root),
            "capillary.caller": "gone",
            "capillary.address": "toy",
            "capillary.state": "s",
        },
        {
            "capillary.project": str(other.root),
            "capillary.caller": "x",
            "capillary.address": "toy",
            "capillary.state": "s",
        },
        {},
    ):
        words, options = ["sleep", "60"], {"labels": label, "auto_remove": True, "init": True}
        name = f"{toy.root.parent.name}-one-of-a-long-name-{len(started)}"
        started.append(client().containers.run(image, words, name=name, detach=True, **options))
    try:
        shown = toy.run("capillary", "ps", COLUMNS="").stdout
        assert started[0].name in shown
        assert "gone" in shown
        assert started[1].name not in shown
        (toy.root / ".capillary/state/toy-0123456789abcdef").mkdir(parents=True)
        done = toy.run("capillary", "clean", "--state")
        assert done.returncode == 0, done.stderr
        assert not (toy.root / ".capillary/state/toy-0123456789abcdef").exists()
        names = {container.name for container in client().containers.list(all=True)}
        assert started[0].name not in names
        assert {started[1].name, started[2].name} <= names
        assert "no stage of this project" in toy.run("capillary", "ps", COLUMNS="").stdout
    finally:
        for container in client().containers.list(all=True, filters={"id": [each.id for each in started]}):
            container.remove(force=True)
