"""Entrypoint of the image mlflow: choose the stores by the environment, then become `mlflow server`.

Without POSTGRES_PASSWORD: SQLite and files below /mlflow. With it (the compose profile `team`): PostgreSQL on the host
`postgres`, artifacts in the bucket `mlflow` of the host `object-store`. No secret gets into a URI or onto a command
line: libpq reads PGPASSWORD, boto3 reads AWS_*.
"""

import os
import socket
import sys
import time
from typing import NoReturn

WAIT_S = 60.0
POSTGRES, OBJECT_STORE = ("postgres", 5432), ("object-store", 9000)
# who may name this server in a request; MLflow admits no other name
HOSTS = ("mlflow:5000", "localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]:*")


def refuse(what: str, remedy: str) -> NoReturn:
    """End with one line that says what is missing and what to do."""
    sys.exit(f"error: {what}; remedy: {remedy}")


def team_stores(variables: dict[str, str]) -> dict[str, str]:
    """Variables that lead to PostgreSQL and the object store."""
    key, secret = variables.get("S3_ACCESS_KEY_ID"), variables.get("S3_SECRET_ACCESS_KEY")
    if not key or not secret:
        refuse(
            "POSTGRES_PASSWORD asks for the team's stores, but the object store's keys are missing",
            "set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in .env, or unset POSTGRES_PASSWORD",
        )
    for host, port in (POSTGRES, OBJECT_STORE):
        wait_for(host, port)
    return {
        "PGPASSWORD": variables["POSTGRES_PASSWORD"],
        "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://mlflow@{POSTGRES[0]}:{POSTGRES[1]}/mlflow",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow",
        "MLFLOW_S3_ENDPOINT_URL": f"http://{OBJECT_STORE[0]}:{OBJECT_STORE[1]}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def wait_for(host: str, port: int) -> None:
    """Wait until `host` listens on `port`; a server that restarts is not there at once."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                refuse(
                    f"{host}:{port} does not answer ({error})",
                    "start the team's services too (COMPOSE_PROFILES=team in .env), or unset POSTGRES_PASSWORD",
                )
            time.sleep(1)


def own_stores() -> dict[str, str]:
    """Variables that lead to SQLite and files."""
    return {
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////mlflow/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": "/mlflow/artifacts",
    }


def main() -> NoReturn:
    """Start the server in this process's place."""
    variables = dict(os.environ)
    variables |= team_stores(variables) if variables.get("POSTGRES_PASSWORD") else own_stores()
    # MLflow's default is four: one has SQLite for itself, and serves a laboratory
    workers = variables.get("MLFLOW_WORKERS", "1")
    hosts = ",".join(HOSTS)
    argv = ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", workers, "--allowed-hosts", hosts]  # noqa: S104 - in a container; compose publishes it on the loopback alone
    os.execvpe(argv[0], argv, variables)  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    main()
