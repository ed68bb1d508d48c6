"""Podman in the place of the Docker daemon."""
