"""`capillary serve`: the service as a process of this machine, in place of its container."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NoReturn

from capillary.integrity.dotenv_file import read_dotenv
from capillary.project_folder import require_project
from stages.common.errors import UsageError

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "pydantic_settings")


def run_service(root: Path, *, port: int | None, model: str | None) -> NoReturn:
    """Become the service, in the project `root`: a signal for this process is one for the service."""
    require_project(root)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the service needs {', '.join(missing)}",
            remedy="./just serve installs it, or: pip install 'capillary[serve]'",
        )
    environment = environment_of(root, port=port, model=model)
    os.chdir(root)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "serving"], environment)  # noqa: S606 - a list, no shell


def environment_of(root: Path, *, port: int | None, model: str | None) -> dict[str, str]:
    """The variables of this process and of .env, with what the command line says instead."""
    given = {name: value for name, value in read_dotenv(root / ".env").items() if value}
    chosen = {"SERVE_PORT": port and str(port), "CAPILLARY_SERVE_MODEL": model}
    return {**given, **os.environ, **{name: value for name, value in chosen.items() if value}}
