"""A warm command is the command: its code, its streams, its signals, its end. Other tests rely on this."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy

from tests.support.parts import REPOSITORY
from tests.support.warm import warm_environment, warm_python
from tests.support.warm.new_stores import BY_MLFLOW, copy_tables


def run(*argv: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """An interpreter with `argv`, in `folder`."""
    environment = warm_environment(**variables)
    return subprocess.run(
        [warm_python(), *argv], cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('a word')", 1),
        ("1 / 0", 1),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import os; os.kill(os.getpid(), 15)", -15),
    ],
)
def test_it_ends_as_the_command_ends(code: str, expected: int, tmp_path: Path) -> None:
    """Exit codes, a message instead of a code, an exception, a signal: as its own interpreter."""
    assert run("-c", code, folder=tmp_path).returncode == expected
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == expected


def test_it_has_the_folder_arguments_streams_and_variables_of_the_caller(tmp_path: Path) -> None:
    """And none of the server's."""
    (tmp_path / "program.py").write_text(
        "import os, sys\n"
        "print(os.getcwd(), sys.argv[1:], os.environ['GIVEN'], sys.path[0])\n"
        "print('e', file=sys.stderr)\n"
    )
    done = run("program.py", "a", "b c", folder=tmp_path, GIVEN="x")
    assert done.stdout == f"{tmp_path} ['a', 'b c'] x {tmp_path}\n"
    assert done.stderr == "e\n"


def test_a_stage_s_code_comes_from_its_folder(tmp_path: Path) -> None:
    """Not from the checkout whose host side the server knows."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").write_text("")
    (tmp_path / "stages" / "mine.py").write_text("print('mine', __file__)")
    assert run("-m", "stages.mine", folder=tmp_path).stdout == f"mine {tmp_path}/stages/mine.py\n"


def test_a_stage_prints_each_message_once(tmp_path: Path) -> None:
    """Also in a folder with code of its own, when the server has learnt of a stage what prints."""
    (tmp_path / "stages").symlink_to(REPOSITORY / "stages")
    printers = "import logging; print(len(logging.getLogger('stages').handlers))"
    run("-c", "import stages.predict.predict", folder=REPOSITORY)
    while run("-c", printers, folder=REPOSITORY).stdout != "1\n":
        time.sleep(0.05)  # it learns between two commands
    code = "from stages.common.program.messages import get_logger as g; g('stages.x').info('said')"
    assert run("-c", code, folder=tmp_path).stdout == "said\n"


def test_a_package_that_is_started_stays_whole(tmp_path: Path) -> None:
    """Its parts are those that the server imported, and know it."""
    done = run("-m", "dvc", "--version", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_command_and_its_death_is_the_caller_s(tmp_path: Path, number: signal.Signals) -> None:
    """A command that does not handle them dies of them; one that is killed leaves nothing."""
    code = "import os, time; open('ready', 'w').write(str(os.getpid())); time.sleep(60)"
    for sent in (number, signal.SIGKILL):
        process = subprocess.Popen(
            [warm_python(), "-c", code], cwd=tmp_path, env=warm_environment(), stderr=subprocess.DEVNULL
        )
        while not (tmp_path / "ready").exists() or not (text := (tmp_path / "ready").read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(sent)
        process.wait(30)
        assert process.returncode != 0
        command = int(text)
        while Path(f"/proc/{command}").exists():  # its server takes notice
            time.sleep(0.01)
        (tmp_path / "ready").unlink()


def test_a_command_stopped_while_it_starts_holds_no_stream_open(tmp_path: Path) -> None:
    """At any moment: whoever reads its output would wait for ever. A pool stops its workers like this."""
    for moment in range(30):
        process = subprocess.Popen(
            [warm_python(), "-c", "import time; time.sleep(60)"],
            cwd=tmp_path,
            env=warm_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        time.sleep(0.003 * moment)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_its_own_processes_work(tmp_path: Path, method: str) -> None:
    """Pipes that multiprocessing hands to its workers pass through the server."""
    (tmp_path / "program.py").write_text(
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        f"    with multiprocessing.get_context('{method}').Pool(2) as pool:\n"
        "        print(pool.map(abs, [-1, 2]))\n"
    )
    assert run("program.py", folder=tmp_path).stdout == "[1, 2]\n"


def test_nothing_of_one_command_is_left_in_the_next(tmp_path: Path) -> None:
    """Random numbers, changed modules, variables."""
    code = (
        "import os, random, torch\n"
        "print(random.random(), hasattr(torch, 'left'))\n"
        "os.environ['LEFT'] = torch.left = '1'\n"
    )
    first, second = run("-c", code, folder=tmp_path), run("-c", code, folder=tmp_path)
    assert first.stdout.endswith("False\n")
    assert second.stdout.endswith("False\n")
    assert first.stdout != second.stdout
    assert "LEFT" not in os.environ


def tables_of(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as database:
        return sorted(name for (name,) in database.execute("SELECT name FROM sqlite_master"))


def test_a_new_store_gets_tables_and_one_in_use_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has a table is MLflow's to repair, and so is one for which a test asks for that."""
    made = []

    def make(engine: sqlalchemy.Engine) -> None:
        made.append(Path(str(engine.url.database)).name)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE made (name)"))

    def ask(name: str) -> list[str]:
        databases._initialize_tables(sqlalchemy.create_engine(f"sqlite:///{tmp_path / name}"))
        return tables_of(tmp_path / name)

    databases = SimpleNamespace(_initialize_tables=make, create_sqlalchemy_engine=sqlalchemy.create_engine)
    copy_tables(databases)
    assert ask("new") == ["made"]
    assert made == []
    with contextlib.closing(sqlite3.connect(tmp_path / "used")) as database:
        database.execute("CREATE TABLE mine (name)")
    assert ask("used") == ["made", "mine"]
    monkeypatch.setenv(BY_MLFLOW, "1")
    assert ask("wanted") == ["made"]
    assert made == ["used", "wanted"]


def test_a_warm_command_s_new_store_has_nothing_of_another_s(tmp_path: Path) -> None:
    """MLflow's own check of the tables passes, and the only experiment is the one that every store has."""
    code = (
        "import sys\n"
        "from mlflow import MlflowClient\n"
        "client = MlflowClient(f'sqlite:///{sys.argv[1]}')\n"
        "client.create_run(client.create_experiment('mine'))\n"
        "print([each.name for each in client.search_experiments(order_by=['experiment_id'])])\n"
    )
    for name in ("one.db", "other.db"):
        assert run("-c", code, name, folder=tmp_path).stdout == "['Default', 'mine']\n"
