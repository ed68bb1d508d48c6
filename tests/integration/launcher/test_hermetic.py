"""What a scientist's code does to files, with real libraries: nothing undeclared gets in, nothing gets out half."""

import json
import time
from collections.abc import Callable

from tests.support.toy import ToyProject

MakeToy = Callable[..., ToyProject]

# Each attempt has to end in PermissionError. They run one after the other in one stage.
ATTEMPTS = """
import json, multiprocessing, shutil, sqlite3
import numpy as np

def read(path):
    return Path(path).read_text()

def write(path):
    Path(path).write_text("changed")

def in_a_worker(method, function, path):
    with multiprocessing.get_context(method).Pool(1) as pool:
        pool.apply(function, (path,))

def by_another_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if "PermissionError" in done.stderr or "UndeclaredAccess" in done.stderr:
        raise PermissionError

def through_a_link(target, name):
    os.symlink(target, f"data/out/{name}")
    try:
        write(f"data/out/{name}")
    finally:
        os.remove(f"data/out/{name}")

def by_number(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))

OTHER = f"{ROOT}/data/other.txt"
attempts = {
    "spawned worker reads": lambda: in_a_worker("spawn", read, OTHER),
    "spawned worker writes": lambda: in_a_worker("spawn", write, "data/in.txt"),
    "fork server's worker reads": lambda: in_a_worker("forkserver", read, OTHER),
    "another Python reads": lambda: by_another_python(f"open({OTHER!r})"),
    "another Python writes": lambda: by_another_python("open('data/in.txt', 'w')"),
    "file outside of the project": lambda: read(f"{ROOT}/../outside.txt"),
    "file outside of the project, relative": lambda: read("../outside.txt"),
    "memory map": lambda: np.memmap("data/in.txt", dtype="u1", mode="r+"),
    "touch": lambda: Path("data/in.txt").touch(),
    "copy over a dep": lambda: shutil.copy("data/out/made.txt", "data/in.txt"),
    "replace a dep": lambda: os.replace("data/out/made.txt", "data/in.txt"),
    "low-level open": lambda: by_number("data/in.txt"),
    "link in an out": lambda: through_a_link(os.path.realpath("data/in.txt"), "link"),
    "chmod": lambda: os.chmod("data/in.txt", 0o777),
    "database": lambda: sqlite3.connect(OTHER),
}

def attempt_all(state):
    ended = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            ended[name] = "nothing happened"
        except BaseException as error:
            ended[name] = type(error).__name__
    Path("data/out/ended.json").write_text(json.dumps(ended))
"""


def test_no_usual_way_leads_to_what_is_not_declared(make_toy: MakeToy) -> None:
    """Worker processes of every kind, libraries and links: each attempt is refused, and no file has changed."""
    toy = make_toy(ATTEMPTS)
    (toy.root.parent / "outside.txt").write_text("undeclared, too")
    toy.set("attempt_all")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    ended = json.loads(toy.out("ended.json"))
    assert len(ended) == 15
    assert set(ended.values()) <= {"PermissionError", "UndeclaredAccess"}, ended
    assert (toy.root / "data/in.txt").read_text() == "hello\n"
    assert (toy.root / "data/other.txt").read_text() == "undeclared\n"


# Each of these has to work.
USUAL = """
import multiprocessing, shutil, tempfile
from concurrent.futures import ProcessPoolExecutor

class Numbers:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        import torch
        return torch.full((64, 64), float(index))

def usual(state):
    for folder in ("data", "data/out", "data/out/new"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("data/out/touched").touch()
    Path("data/out/touched").touch()
    with tempfile.NamedTemporaryFile() as one, tempfile.TemporaryFile() as two, tempfile.TemporaryDirectory() as three:
        one.write(b"x"), two.write(b"x"), Path(three, "x").touch()
    shutil.copy2("data/in.txt", "data/out/copy.txt")
    for method in ("fork", "spawn", "forkserver"):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            assert list(pool.map(abs, [-1])) == [1]
    with multiprocessing.Manager() as manager:
        assert list(manager.list([1])) == [1]

def tables_and_plots(state):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import nibabel, numpy as np, pandas as pd, tifffile
    plt.plot([1, 2])
    plt.savefig("data/out/plot.png")
    table = pd.DataFrame({"a": [1]})
    table.to_csv("data/out/a.csv")
    table.to_parquet("data/out/a.parquet")
    assert pd.read_parquet("data/out/a.parquet").equals(table)
    volume = np.zeros((4, 8, 8), np.uint8)
    tifffile.imwrite("data/out/a.tif", volume)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), "data/out/a.nii.gz")
    np.save("data/out/a.npy", volume)
    np.load("data/out/a.npy", mmap_mode="r+")[0] = 1
    np.memmap("data/in.txt", np.uint8, mode="c")[0] = 1

def loaders(state):
    from torch.utils.data import DataLoader
    for method in ("fork", "spawn"):
        loader = DataLoader(Numbers(), num_workers=1, multiprocessing_context=method)
        assert sum(batch.sum().item() for batch in loader) == 64 * 64 * 6

def all_of_it(state):
    usual(state), loaders(state), tables_and_plots(state)
"""


def test_what_stages_usually_do_works(make_toy: MakeToy) -> None:
    """Pools, temporary files, tables, plots and torch's loaders, in a workspace with a long path of spaces and signs.

    Sockets of loader workers once made the stage hang there: their whole path may have 107 characters.
    """
    toy = make_toy(USUAL, folder="a rather long path as people have them/for their projects of müscle/capillary 2026")
    toy.set("all_of_it")
    done = toy.repro()
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stderr
    assert toy.leftovers() == []


# The guard sees none of these: C code and other programs open files by themselves.
UNSEEN = """
def table_over_a_dep(state):
    import pyarrow, pyarrow.parquet
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), "data/in.txt")

def stray_model(state):
    import torch
    torch.save({}, "model.pt")

def stray_of_a_program(state):
    subprocess.run(["sh", "-c", "echo x > data/stray.txt"], check=True)

def waits(state):
    (state / "started").write_text("now")
    deadline = time.monotonic() + 60
    while not (state / "edited").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
"""
UNSEEN_ENDS = [
    ("table_over_a_dep", 4, ["changed while it ran", "data/in.txt"]),
    ("stray_model", 5, ["does not declare", "model.pt"]),
    ("stray_of_a_program", 5, ["does not declare", "data/stray.txt"]),
]


def test_what_the_guard_cannot_see_is_found_before_publishing(make_toy: MakeToy) -> None:
    """The stage fails with the name of the file, and the previous outs are back."""
    toy = make_toy(UNSEEN + "\ndef fine(state): pass\n")
    toy.set("fine")
    assert toy.repro().returncode == 0
    for mode, code, named in UNSEEN_ENDS:
        (toy.root / "data/in.txt").write_text("hello\n")
        toy.set(mode)
        done = toy.repro()
        assert f"exited with {code}" in done.stderr, mode
        for text in [*named, "remedy:"]:
            assert text in done.stderr, mode
        assert toy.out("made.txt") == "made", mode
        assert not (toy.root / "data/stray.txt").exists(), mode


def test_code_edited_while_it_runs_does_not_make_a_stale_cache(make_toy: MakeToy) -> None:
    """DVC hashes deps after the run: it would note the outs of the old code as those of the new."""
    toy = make_toy(UNSEEN)
    toy.set("waits")
    running = toy.start_warm("dvc", "repro")
    deadline = time.monotonic() + 30
    while not (started := list((toy.root / ".capillary" / "state").glob("*/started"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with (toy.root / "stages/toy/modes.py").open("a") as stream:
        stream.write("# edited\n")
    (started[0].parent / "edited").touch()
    output, _ = running.communicate(timeout=60)
    assert "changed while it ran" in output
    assert "stages/toy" in output
    assert not (toy.root / "data/out").exists()
    assert not (toy.root / "dvc.lock").exists()


REFUSED_ON_THE_WAY = """
def tries_and_fails_otherwise(state):
    from stages.common.errors import DataError
    try:
        open(f"{ROOT}/.git/config")
    except OSError:
        pass
    raise DataError("volume mv01 is empty", remedy="leave it out")
"""


def test_a_stage_s_own_error_is_not_hidden_by_a_refusal_on_the_way(make_toy: MakeToy) -> None:
    """Libraries look into places and do without; the exit code stays the one of what went wrong."""
    toy = make_toy(REFUSED_ON_THE_WAY)
    toy.set("tries_and_fails_otherwise")
    done = toy.repro()
    assert "exited with 4" in done.stderr
    assert "volume mv01 is empty" in done.stderr
    assert "note: the stage was refused access earlier: toy may not read .git/config" in done.stderr
    assert "error: the stage tried to use" not in done.stderr
