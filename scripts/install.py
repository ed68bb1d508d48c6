"""Install this checkout, what its stages need and the extras named as arguments into the running environment.

A stamp holds the hash of what decides the result (pyproject.toml, constraints.txt, the extras), so that a second call
costs nothing. Run by `./just setup`; uses the standard library alone, because nothing is installed yet.
"""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALWAYS = "stages"  # the extra without which stages cannot run as plain processes
# pip warns once a package about a find-links folder that lacks it: noise where wheels are kept in a local folder
NOISE = "is ignored: it is neither a file nor a directory"


def unknown(extras: list[str]) -> list[str]:
    """Those of `extras` that pyproject.toml does not have: pip only warns about them, and installs the rest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [extra for extra in extras if extra not in project["optional-dependencies"]]


def fingerprint(extra: str) -> str:
    digest = hashlib.sha256(extra.encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def pip_install(target: str) -> int:
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    argv += ["--constraint", str(ROOT / "constraints.txt"), "--editable", target]
    with subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if NOISE not in line:
                sys.stderr.write(line)
    return process.returncode


def main(extras: list[str]) -> int:
    """Install the base with what stages need, and `extras`: 0 on success, 2 for an unknown extra, else pip's code."""
    if wrong := unknown(extras):
        print(
            f"error: there is no extra {', '.join(wrong)}\n"
            "remedy: name extras of pyproject.toml, such as gpu, notebooks or mlops (docs/extras.md)",
            file=sys.stderr,
        )
        return 2
    extra = ",".join(sorted({ALWAYS, *extras}))
    stamp = Path(sys.prefix) / f"capillary-installed-{extra}"
    wanted = fingerprint(extra)
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    print(
        f"installing capillary with {extra} into {sys.prefix}; the first time takes minutes",
        flush=True,
    )
    code = pip_install(f".[{extra}]")
    if code:
        print(
            "error: pip could not install the pinned packages\n"
            "remedy: read pip's message above, then repeat ./just setup",
            file=sys.stderr,
        )
        return code
    stamp.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
