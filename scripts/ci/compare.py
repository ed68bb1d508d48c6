"""Compare two commits of a DVC repository in metrics and params, and draw their plots over each other.

    python -m scripts.ci.compare BASE HEAD --out FOLDER

FOLDER gets `comment.md` for the pull request, `comparison.json` with every value, and `plots/index.html` if there are
plots. Metrics and plots come from DVC's cache, or from its remote if this machine may read it. Nothing of the two
commits is run.
"""

import argparse
import enum
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scripts.ci.markdown import cell, table

MARKER = "<!-- capillary: comparison -->"
ADVERTISEMENT = "Having any troubles?"  # ends each failure of DVC's
LONGEST_MESSAGE = 300
MOST_ROWS = 60  # of one table; GitHub refuses a comment of more than 65,536 characters

Diff = Mapping[str, Mapping[str, Mapping[str, object]]]  # file → key → old, new and, for numbers, diff
# a plot of DVC's page that has something to draw; where its file could not be read, the page has an empty one
DRAWN = re.compile(r"var spec = \{(?!\};)|<img ")


class Lock(enum.StrEnum):
    """What became of dvc.lock, the record of what ran, between two commits."""

    CHANGED = "changed"
    SAME = "same"
    MISSING = "missing"


WITHOUT_RUN = {
    Lock.SAME: "`dvc.lock` is the same in both commits, so no stage was run: the metrics are the old ones.",
    Lock.MISSING: "There is no `dvc.lock`, the record of what ran, so there are no metrics.",
}


class CompareError(Exception):
    """Why nothing can be compared, with the remedy on a second line."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two commits: what differs, and what could not be read."""

    base: str
    head: str
    metrics: Diff
    params: Diff
    lock: Lock
    plots: bool = False
    unreadable: Sequence[str] = field(default_factory=tuple)


def compare(root: Path, base: str, head: str, out: Path) -> Comparison:
    """Look at both commits of the repository `root`; writes `out/plots`.

    Raises CompareError if a commit or a program does not exist, CalledProcessError if DVC finds no repository.
    """
    old, new = resolve(root, base), resolve(root, head)
    out.mkdir(parents=True, exist_ok=True)
    metrics, metric_messages = diff(root, "metrics", old, new)
    params, param_messages = diff(root, "params", old, new)
    drawn, plot_messages = draw_plots(root, old, new, out / "plots")
    return Comparison(
        base=old,
        head=new,
        metrics=metrics,
        params=params,
        lock=find_lock(root, old, new),
        plots=drawn,
        unreadable=tuple(dict.fromkeys([*metric_messages, *param_messages, *plot_messages])),
    )


def resolve(root: Path, revision: str) -> str:
    """The full hash of a commit, so that no name is taken for an option further on."""
    argv = ("git", "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    done = run(root, *argv, check=False)
    if done.returncode:
        raise CompareError(
            f"{root} has no commit {revision}: {done.stderr.strip()}\n"
            "remedy: name a commit, tag or branch of this repository, such as origin/main (`git branch --all`)"
        )
    return done.stdout.strip()


def find_lock(root: Path, base: str, head: str) -> Lock:
    """Whether a stage was run between the two commits, as far as dvc.lock tells."""
    if not run(root, "git", "ls-tree", "--name-only", head, "--", "dvc.lock").stdout:
        return Lock.MISSING
    changed = run(root, "git", "diff", "--name-only", base, head, "--", "dvc.lock").stdout
    return Lock.CHANGED if changed else Lock.SAME


def diff(root: Path, kind: str, base: str, head: str) -> tuple[Diff, list[str]]:
    """What `dvc metrics diff` or `dvc params diff` finds, and the lines in which it says what it could not read.

    DVC ends with 0 and an empty answer if it cannot read a file of a commit: only its messages tell.
    """
    done = run(root, "dvc", kind, "diff", "--json", base, head)
    found: Diff = json.loads(done.stdout or "{}")
    return found, messages(done.stderr)


def draw_plots(root: Path, base: str, head: str, out: Path) -> tuple[bool, list[str]]:
    """Whether `out/index.html` shows a plot, and DVC's messages. Plots that cannot be read leave the others."""
    done = run(root, "dvc", "plots", "diff", base, head, "--out", str(out), check=False)
    page = out / "index.html"
    return page.is_file() and DRAWN.search(page.read_text()) is not None, messages(done.stderr)


def messages(text: str) -> list[str]:
    """Lines of DVC's standard error, without those that are the same each time."""
    return [line.strip() for line in text.splitlines() if line.strip() and ADVERTISEMENT not in line]


def run(root: Path, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command in the repository; its standard error is shown when it fails."""
    try:
        done = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise CompareError(
            f"{argv[0]} is not on PATH\nremedy: install Git; dvc is in .venv: run `. .venv/bin/activate`"
        ) from None
    if check and done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done


def comment(comparison: Comparison) -> str:
    """The pull request's comment."""
    lines = [MARKER, "## Comparison", "", f"{cell(comparison.base[:10])} → {cell(comparison.head[:10])}", ""]
    lines += notes(comparison)
    lines += section("Metrics", comparison.metrics) + section("Params", comparison.params)
    if comparison.plots:
        lines += ["Plots of both commits: `plots/index.html` in the artifact of this run.", ""]
    return "\n".join(lines)


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know before the numbers."""
    lines: list[str] = []
    if comparison.lock in WITHOUT_RUN:
        remedy = "Run `dvc repro` (or `./just experiment`), commit `dvc.lock` and `dvc push`."
        lines.append(f"> {WITHOUT_RUN[comparison.lock]} {remedy}")
    if comparison.unreadable:
        lines.append("> DVC could not read everything. Were the results pushed, and may this run read the remote?")
        lines += [f"> - {cell(message, longest=LONGEST_MESSAGE)}" for message in comparison.unreadable[:10]]
    return [*lines, ""] if lines else []


def section(title: str, found: Diff) -> list[str]:
    """A table of one kind, at most MOST_ROWS long."""
    rows = [
        (file, key, show(value.get("old")), show(value.get("new")), show(value.get("diff"), signed=True))
        for file, keys in sorted(found.items())
        for key, value in sorted(keys.items())
    ]
    if not rows:
        return [f"**{title}**: no difference.", ""]
    lines = [f"**{title}**", "", *table(("file", "key", "before", "after", "change"), rows[:MOST_ROWS]), ""]
    if len(rows) > MOST_ROWS:
        lines += [f"{len(rows) - MOST_ROWS} more rows are in `comparison.json` of the artifact.", ""]
    return lines


def show(value: object, *, signed: bool = False) -> str:
    """A value in five significant digits; a dash where a commit has none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:{'+' if signed else ''}.5g}"
    return f"{value:+d}" if signed and isinstance(value, int) else str(value)


def write(comparison: Comparison, out: Path) -> None:
    """The comment, and every value."""
    everything: dict[str, object] = {"base": comparison.base, "head": comparison.head, "lock": comparison.lock}
    everything |= {"metrics": comparison.metrics, "params": comparison.params, "unreadable": comparison.unreadable}
    (out / "comparison.json").write_text(json.dumps(everything, indent=1) + "\n")
    (out / "comment.md").write_text(comment(comparison))


def main(arguments: list[str]) -> int:
    """0 when both commits were compared, also where something of them could not be read; 2 where they could not be."""
    parser = argparse.ArgumentParser(description="Compare two commits in metrics, params and plots.")
    parser.add_argument("base")
    parser.add_argument("head")
    parser.add_argument("--out", type=Path, required=True, help="a folder for comment.md, comparison.json and plots")
    chosen = parser.parse_args(arguments)
    try:
        write(compare(Path.cwd(), chosen.base, chosen.head, chosen.out.absolute()), chosen.out)
    except CompareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
