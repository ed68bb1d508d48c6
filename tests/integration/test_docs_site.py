"""The documentation builds as a site: no broken link, no page outside the navigation."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*stylesheet[^>]*href=["']?(?:https?:)?//"""
)


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    # not --quiet: mkdocs would then count no warning, and --strict would fail on none
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr

    pages = sorted(tmp_path.rglob("*.html"))
    assert tmp_path / "reference" / "commands.html" in pages
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
