"""The container executor: a plan run in a sibling container on the Docker daemon."""
