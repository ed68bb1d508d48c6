"""The pictures of README.md: the pipeline in containers, a report and a segmented stack.

    python -m scripts.pictures drawing             docs/pictures/pipeline.svg, from dvc.yaml and configs/stages.yaml
    python -m scripts.pictures results [NAME]      report.png and stack.png, of the report NAME

`results` follows `./just reproduce` and `capillary report`, which leave the phantom's overlays and report. It needs
Chromium. It writes into this checkout, from the project in the current folder.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGE_PIXELS = (1280, 1000)
VIEWS = ("1_image", "2_label", "3_prediction", "4_error")

COLOURS = 128

# of the drawing, in pixels
WIDTH, HEIGHT = 960, 312
BOX_WIDTH, BOX_HEIGHT, GAP = 158, 80, 30
LEFT, BUS, STAGES_TOP, SHIFT, RUNNER_MIDDLE = 24, 158, 182, 6, 174
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1f2933 }
.small { font-size: 12px; fill: #52606d }
.name { font-weight: 600 }
.box { fill: #fff; stroke: #829ab1; stroke-width: 1.5 }
.machine { fill: #f5f7fa; stroke: #cbd2d9; stroke-dasharray: 5 4 }
.runner { fill: #e6f0fa; stroke: #2f6fb0; stroke-width: 1.5 }
.gpu { fill: #fdf0e4; stroke: #c2691c; stroke-width: 1.5 }
.store { fill: #edf6ee; stroke: #3c8a48; stroke-width: 1.5 }
.line { fill: none; stroke: #52606d; stroke-width: 1.5; marker-end: url(#head) }
.spawn, .bus { fill: none; stroke: #2f6fb0; stroke-width: 1.5 }
.head { fill: #52606d }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e7eb } .small { fill: #b5bfc9 }
  .box { fill: #1f2933; stroke: #7b8794 } .machine { fill: #161b22; stroke: #3e4c59 }
  .runner { fill: #17324d; stroke: #6ea8df } .gpu { fill: #43290f; stroke: #e39a55 }
  .store { fill: #16331b; stroke: #6bbd78 } .line { stroke: #b5bfc9 } .spawn, .bus { stroke: #6ea8df }
  .head { fill: #b5bfc9 }
}
"""
NETWORKS = {"source": "reaches the source", "none": "no network", "tracking": "reaches MLflow"}


def drawing() -> str:
    """The pipeline in containers, as an SVG that follows the reader's light or dark mode."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rights = yaml.safe_load((ROOT / "configs" / "stages.yaml").read_text())
    shapes = "\n".join([*_around(), *_stages(stages, rights)])
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">
<title>The pipeline in containers</title>
<style>{STYLE}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>
{shapes}
</svg>
"""


def _around() -> Iterator[str]:
    """The machine, the runner that starts the stages, and where data and models are."""
    yield _rectangle("machine", 8, 40, WIDTH - 16, HEIGHT - 48)
    yield _text(24, 28, "your machine, with Docker", "small")
    yield from _box(
        "runner", 24, 58, 300, 78, "dvc-runner", "DVC decides what must run", "its Docker socket starts siblings"
    )
    yield from _box(
        "store", 388, 58, 250, 78, "files, by hash", "DVC's cache and remote", "what is unchanged is not run again"
    )
    yield from _box(
        "store", 702, 58, 234, 78, "MLflow, or DagsHub", "runs, registered models", "people review them there"
    )


def _stages(entries: dict[str, Any], rights: dict[str, Any]) -> Iterator[str]:
    """A box for each stage that dvc.yaml starts, in its order, with an arrow from the one before."""
    axes = _axes(entries)
    for number, (name, matrix) in enumerate(axes.items()):
        x, middle = LEFT + number * (BOX_WIDTH + GAP), STAGES_TOP + BOX_HEIGHT // 2
        uses_gpu = rights[name].get("gpu", "none") != "none"
        kind, lines = "gpu" if uses_gpu else "box", _lines(rights[name])
        if matrix:
            yield _rectangle(kind, x + SHIFT, STAGES_TOP + SHIFT, BOX_WIDTH, BOX_HEIGHT)
            yield _text(x, STAGES_TOP + BOX_HEIGHT + 28, f"one per {' × '.join(matrix)}", "small")
        yield from _box(kind, x, STAGES_TOP, BOX_WIDTH, BOX_HEIGHT, name, *lines)
        if number:
            yield _line(x - GAP + (SHIFT if axes[list(axes)[number - 1]] else 0) + 2, middle, x - 3, middle)
        yield _line(x + BOX_WIDTH // 2, BUS, x + BOX_WIDTH // 2, STAGES_TOP - 3, "line spawn")
    last = LEFT + (len(axes) - 1) * (BOX_WIDTH + GAP) + BOX_WIDTH // 2
    yield f'<path class="bus" d="M{RUNNER_MIDDLE} 136 V{BUS} M{LEFT + BOX_WIDTH // 2} {BUS} H{last}"/>'


def _axes(entries: dict[str, Any]) -> dict[str, list[str]]:
    """Each stage that a command of dvc.yaml starts, with the axes of the matrix that multiplies it."""
    found: dict[str, list[str]] = {}
    for entry in entries.values():
        commands = entry["cmd"] if isinstance(entry["cmd"], list) else [entry["cmd"]]
        for command in commands:
            name = command.split()[2]
            found[name] = max(found.get(name, []), list(entry.get("matrix", {})), key=len)
    return found


def _lines(rights: dict[str, Any]) -> tuple[str, str]:
    """What a stage may: network and GPU. A gate has what the stage behind it has."""
    if rights.get("gate"):
        return "can this training end?", "if not, it does not start"
    return NETWORKS[rights["network"]], "no GPU" if rights["gpu"] == "none" else "GPU, if there is one"


def results(name: str) -> None:
    """The page of the report `name` in a browser, and the overlays of the stack with the median DSC, side by side."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    page = Path.cwd() / "reports" / name / "report.html"
    if browser is None or not page.is_file():
        sys.exit(
            f"error: needs Chromium and {page}\nremedy: install Chromium, run ./just reproduce and capillary report"
        )
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}"]
        size = "--window-size={},{}".format(*PAGE_PIXELS)
        subprocess.run([*command, size, f"--screenshot={FOLDER / 'report.png'}", page.as_uri()], check=True)
    _shrink(FOLDER / "report.png", Image.open(FOLDER / "report.png"))
    views = [Image.open(Path("metrics") / "overlays" / f"median_projection_{view}.png") for view in VIEWS]
    whole = Image.new("RGB", (sum(view.width for view in views) + SHIFT * (len(views) - 1), views[0].height), "white")
    for number, view in enumerate(views):
        whole.paste(view, (number * (view.width + SHIFT), 0))
    _shrink(FOLDER / "stack.png", whole.resize((2 * whole.width, 2 * whole.height), Image.Resampling.NEAREST))


def _shrink(file: Path, picture: Image.Image) -> None:
    """At most COLOURS colours: a third of the bytes, and no eye sees it on these."""
    picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)


def _box(kind: str, x: int, y: int, width: int, height: int, name: str, *lines: str) -> Iterator[str]:
    yield _rectangle(kind, x, y, width, height)
    yield _text(x + 12, y + 26, name, "name")
    for number, line in enumerate(lines):
        yield _text(x + 12, y + 47 + 18 * number, line, "small")


def _rectangle(kind: str, x: int, y: int, width: int, height: int) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>'


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{text}</text>'


def _line(x1: int, y1: int, x2: int, y2: int, kind: str = "line") -> str:
    return f'<path class="{kind}" d="M{x1} {y1} L{x2} {y2}"/>'


if __name__ == "__main__":
    what, *names = sys.argv[1:] or [""]
    if what == "drawing":
        (FOLDER / "pipeline.svg").write_text(drawing())
    elif what == "results":
        results(*names or ["workspace"])
    else:
        sys.exit(__doc__)
