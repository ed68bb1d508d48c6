"""DVC's list of the paths that its processes work on: a kill while it is written leaves half of it."""

import json
from pathlib import Path

TORN = "JSON structure is corrupted"  # what DVC then says, whatever it is asked for


def remove_torn(root: Path) -> None:
    """Remove the list of the workspace `root` if nobody can read it; DVC starts a new one."""
    file = root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(file.read_text())
    except FileNotFoundError:
        return
    except ValueError:
        file.unlink(missing_ok=True)
