"""Its own compose project in a clone: its name, its ports, and nothing left of it afterwards."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from tests.support.clone import Clone
from tests.support.docker.containers import client
from tests.support.parts import command_environment, require
from tests.support.ports import free_port

OWNER = 1234  # nobody on this machine


class ComposeProject:
    """A clone that belongs to another user, used with docker alone."""

    def __init__(self, clone: Clone, env_file: str = "") -> None:
        client()
        require(shutil.which("docker") is not None, "the docker command")
        require(os.geteuid() == 0, "root, to give the clone to another user")
        self.clone, root = clone, clone.root
        # the runner reads variables for stages from here; one thread, for the reason in command_environment
        (root / ".env").write_text(f"CAPILLARY_THREADS=1\n{env_file}")
        for path in (root, *root.rglob("*")):
            os.chown(path, OWNER, OWNER, follow_symlinks=False)
        self.mlflow_port, self.s3_port = free_port(), free_port()
        inherited = {name: value for name, value in command_environment().items() if not name.startswith("COMPOSE_")}
        self.environment = {
            **inherited,
            "COMPOSE_PROJECT_NAME": f"capillary-test-{secrets.token_hex(4)}",
            "MLFLOW_PORT": str(self.mlflow_port),
            "S3_PORT": str(self.s3_port),
        }

    def compose(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGV` in the clone, output captured."""
        done = subprocess.run(
            ["docker", "compose", *argv],
            cwd=self.clone.root,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *argv: str, check: bool = True) -> str:
        """A command in the dvc-runner; what it printed."""
        done = self.compose("run", "--rm", "--no-TTY", "dvc-runner", *argv, check=check)
        return done.stdout + done.stderr

    def strangers(self) -> list[Path]:
        """Files of the clone that are not its owner's."""
        return [path for path in self.clone.root.rglob("*") if path.lstat().st_uid != OWNER]

    def stage_containers(self) -> list[str]:
        """Stages' containers of this clone that are still there."""
        wanted = {"label": f"capillary.project={self.clone.root}"}
        return [container["Names"][0] for container in client().api.containers(all=True, filters=wanted)]

    def close(self) -> None:
        """Remove containers, volumes, networks and images of the project."""
        self.compose("--profile", "team", "down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5")
