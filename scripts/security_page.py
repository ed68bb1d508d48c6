"""Write the tables of docs/security.md from configs/stages.yaml and dvc.yaml, so that the page cannot drift from them.

python scripts/security_page.py           write them
python scripts/security_page.py --check   exit code 1 when the page says something else
"""

import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capillary.planning.access import ACCESS_FILE, StageAccess, is_gate, read_access
from capillary.planning.gate import config_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs", "security.md")
BEGIN, END = "<!-- begin: scripts/security_page.py -->\n", "<!-- end: scripts/security_page.py -->\n"
CODE_FOLDER = "stages/"


def access_table(root: Path) -> list[str]:
    """A row per stage, one column per key of StageAccess: whatever keys it has."""
    keys = list(StageAccess.model_fields)
    rows = []
    for stage in yaml.safe_load((root / ACCESS_FILE).read_text()):
        access = read_access(root, stage)
        cells = ["as the gated"] * len(keys) if is_gate(root, stage) else [shown(getattr(access, key)) for key in keys]
        if access.memory_gb == "none":
            cells[keys.index("memory_gb")] = "no limit"
        if access.image is None:
            cells[keys.index("image")] = "its own"
        rows.append([stage, *cells])
    return table(["stage", *(f"`{key}`" for key in keys)], rows)


def files_table(root: Path) -> list[str]:
    """A row per stage: what it can read besides its own code, and what it can write."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    rows = []
    for stage, entry in entries.items():
        reads = [dep for dep in entry["deps"] if not dep.startswith(CODE_FOLDER)]
        written = [out for kind in ("outs", "metrics", "plots") for out in entry.get(kind, [])]
        names = tuple(next(iter(out)) if isinstance(out, dict) else out for out in written)
        rows.append([stage, shown(tuple(reads)), shown(names)])
    gates = [stage for stage in yaml.safe_load((root / ACCESS_FILE).read_text()) if is_gate(root, stage)]
    rows += [[gate, shown((config_of(gate),)), shown(())] for gate in gates]
    stacks = "`IN` (for more than 32 stacks in one folder: that folder), the model cards in `models`"
    files = "`OUT` and other requested files next to it; for several stacks or blocks: a hidden folder there"
    rows.append(["predict", stacks, files])
    rows.append(["models", "the registry, and what *convert* made", "pickles as they were fetched; new cards"])
    rows.append(["convert", "pickles as they were fetched", "a description and weights for each"])
    rows.append(
        ["report", "`metrics`, `models`, receipts of trainings", "`reports/NAME/report.html`, `reports/NAME/report.md`"]
    )
    rows.append(["sync", "runs that wait in the outbox", "nothing else"])
    rows.append(["weights", "`models`, `weights`", "`weights`"])
    rows.append(["bioimageio", "the model card that is named, if it is a file; `weights`", "the folder that is named"])
    return table(["stage", "reads (besides its code)", "writes"], rows)


def shown(value: object) -> str:
    """A value as a cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"`{name}` from `{own}`" for name, own in value.items()) or "nothing"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value) or "nothing"
    return "a share of the machine" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows]]


def page_with_tables(page: str, root: Path) -> str:
    """`page` with what stands between its markers replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = ["", *access_table(root), "", *files_table(root), "", ""]
    return before + BEGIN + "\n".join(lines) + END + after


def main(arguments: list[str], root: Path = ROOT) -> int:
    """0 when the page in `root` holds the tables (now), 1 when --check found others."""
    file = root / PAGE
    page = file.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        print(
            f"error: {PAGE.name} must hold each of the two markers once\n  remedy: git checkout {PAGE}", file=sys.stderr
        )
        return 1
    wanted = page_with_tables(page, root)
    if "--check" in arguments:
        if page != wanted:
            print(
                f"error: {PAGE} says something else than {ACCESS_FILE} and dvc.yaml\n"
                "  remedy: python scripts/security_page.py",
                file=sys.stderr,
            )
        return int(page != wanted)
    file.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
