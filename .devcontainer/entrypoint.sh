#!/bin/sh
# Runs as root when the container starts, before anybody enters: lets `developer` use the Docker socket and .venv.
set -eu

user=developer
socket=/var/run/docker.sock
ready=/run/devcontainer-ready
rm -f "$ready"

# The socket belongs to a group of the machine, whose number differs from machine to machine (0 with Docker Desktop).
# Whoever may use the socket can be root on the machine: the group adds no right that the mount did not give.
if [ -S "$socket" ]; then
    gid=$(stat -c %g "$socket")
    getent group "$gid" >/dev/null || groupadd --gid "$gid" docker-socket
    usermod --append --groups "$(getent group "$gid" | cut -d: -f1)" "$user"
fi

# a new volume belongs to root
if [ -n "${DEVCONTAINER_VENV:-}" ] && [ -d "$DEVCONTAINER_VENV" ]; then
    chown "$user:" "$DEVCONTAINER_VENV"
fi

touch "$ready"
exec "$@"
