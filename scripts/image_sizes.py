"""Measure every image of this project: its size over the base image, and what fills it.

    python scripts/image_sizes.py            print the table
    python scripts/image_sizes.py --write    write it into docs/images.md
    python scripts/image_sizes.py --check    exit code 1 when an image is larger than its limit

Builds what is missing, which takes minutes. CPU images: those for CUDA are several GB larger. Needs a Docker daemon.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from capillary.executors.container.execute import ContainerExecutor
from capillary.planning.access import ACCESS_FILE, read_access
from capillary.settings import read_settings
from capillary.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "images.md"
BEGIN, END = "<!-- begin: scripts/image_sizes.py -->\n", "<!-- end: scripts/image_sizes.py -->\n"
SERVICES = {
    "dvc-runner": "Dockerfile.dvc-runner",
    "mlflow": "services/mlflow/Dockerfile",
    "object-store": "services/object-store/Dockerfile",
}
LIMITS_MB = {"ingest": 450, "train": 2000}  # over the base
PACKAGES = "du -sk /opt/venv/lib/python3*/site-packages/* 2>/dev/null | sort -rn | head -4"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image. `over_mb` is its size without the base image's, `largest` names the packages that take most."""

    name: str
    size_mb: float
    over_mb: float
    largest: str

    @property
    def limit_mb(self) -> int | None:
        """What it may take over the base."""
        return LIMITS_MB.get(self.name)


def docker(*argv: str) -> str:
    """What a docker command prints; its own messages reach the terminal."""
    return subprocess.run(["docker", *argv], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def find_images() -> dict[str, str]:
    """Name → tag or id of every image, built from this checkout."""
    settings = read_settings(ROOT)
    executor = ContainerExecutor(settings)
    stages = [name for name in read_yaml(ROOT / ACCESS_FILE) if read_access(ROOT, name).image is None]
    subprocess.run([str(Path(sys.executable).with_name("capillary")), "build"], cwd=ROOT, check=True, stdout=sys.stderr)
    tags = {name: executor.environment(ROOT, name, read_access(ROOT, name)).tag for name in stages}
    base = f"BASE={settings.images.base}"
    ids = {
        name: docker("build", "--quiet", "--build-arg", base, "--file", file, ".") for name, file in SERVICES.items()
    }
    return {**tags, **ids}


def measure(name: str, image: str, base_mb: float) -> Row:
    """The row of one image."""
    packages = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", PACKAGES).splitlines()
    largest = [(int(line.split()[0]) * 1024 / 1e6, Path(line.split()[1]).name) for line in packages]
    size = size_mb(image)
    text = ", ".join(f"{package} {package_mb:.0f}" for package_mb, package in largest if package_mb >= 1)
    return Row(name=name, size_mb=size, over_mb=size - base_mb, largest=text)


def size_mb(image: str) -> float:
    """Size of an image with all its layers, in 10⁶ bytes as `docker images` shows it."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def table(rows: list[Row], base: str, base_mb: float) -> str:
    """The rows as Markdown."""
    lines = [
        "| image | size (MB) | over the base (MB) | limit (MB) | largest packages (MB) |",
        "|---|---|---|---|---|",
        f"| `{base}` (the base) | {base_mb:.0f} | | | |",
    ]
    lines += [
        f"| {row.name} | {row.size_mb:.0f} | {row.over_mb:.0f} | {row.limit_mb or ''} | {row.largest} |" for row in rows
    ]
    return "\n".join(lines)


def write_page(text: str) -> None:
    """Put the table between the markers of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}")


def main(arguments: list[str]) -> int:
    """0, or 1 when --check found an image over its limit."""
    base = read_settings(ROOT).images.base
    images = find_images()
    base_mb = size_mb(base)
    rows = [measure(name, image, base_mb) for name, image in images.items()]
    print(table(rows, base, base_mb))
    if "--write" in arguments:
        write_page(table(rows, base, base_mb))
    over = [row for row in rows if row.limit_mb is not None and row.over_mb > row.limit_mb]
    for row in over:
        print(
            f"error: {row.name} takes {row.over_mb:.0f} MB over the base, its limit is {row.limit_mb}", file=sys.stderr
        )
    return int(bool(over) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
