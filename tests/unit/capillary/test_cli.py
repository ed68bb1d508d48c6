import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"dvc", "torch", "mlflow", "numpy", "pandas", "monai", "ruamel", "yaml"}
PROGRAM = """
import sys
from capillary.__main__ import main
sys.argv = ["capillary", *sys.argv[1:]]
try:
    main()
finally:
    print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["stage", "--help"], ["experiment", "--help"], ["report", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """`capillary --help` answers at once: neither DVC nor torch nor MLflow is imported for it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert "Usage: capillary" in done.stdout
    loaded = set(done.stdout.partition("LOADED ")[2].split())
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_a_foreseen_error_is_a_report_and_an_exit_code(tmp_path: Path) -> None:
    """A command that fails says what, which file and what to do, without a traceback."""
    program = "from capillary.__main__ import main; import sys; sys.argv = ['capillary', 'metrics']; main()"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "there are no metrics yet" in done.stderr
    assert "metrics/metrics.json" in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("threshold", ["1", "1.5", "-0.1", "nan"])
def test_a_threshold_that_no_probability_can_be_above_is_refused_as_an_option(threshold: str) -> None:
    """And not as a line of params.yaml, where it does not stand."""
    program = "from capillary.__main__ import main; import sys; sys.argv = ['capillary', *sys.argv[1:]]; main()"
    argv = [sys.executable, "-c", program, "predict", "in.tif", "out.tif", f"--threshold={threshold}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'--threshold'" in done.stderr
