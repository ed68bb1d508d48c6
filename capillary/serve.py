"""`capillary serve`: the service as a process of this machine, in place of its container."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

from stages.common.errors import CapillaryError, ExitCode

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "pydantic_settings")


def run_service(root: Path, *, port: int | None, model: str | None) -> int:
    """Run the service in the project `root` until it ends; returns its exit code."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CapillaryError(
            f"the service needs {', '.join(missing)}",
            remedy="./just serve installs it, or: pip install 'capillary[serve]'",
            code=ExitCode.USAGE,
        )
    environment = environment_of(root, port=port, model=model)
    with subprocess.Popen([sys.executable, "-P", "-m", "serving"], cwd=root, env=environment) as service:
        while True:
            try:
                return service.wait()
            except KeyboardInterrupt:  # Ctrl-C reached the service, too, which ends as it should
                continue


def environment_of(root: Path, *, port: int | None, model: str | None) -> dict[str, str]:
    """The variables of this process and of .env, with what the command line says instead."""
    given = {name: value for name, value in dotenv_values(root / ".env").items() if value}
    chosen = {"SERVE_PORT": port and str(port), "CAPILLARY_SERVE_MODEL": model}
    return {**given, **os.environ, **{name: value for name, value in chosen.items() if value}}
