"""python -m serving.jobs.waiting: print how many stacks wait, as CloudWatch reads a metric from a log.

Runs next to a task's service on ECS (deploy/ecs/serve.yaml), which starts and ends tasks by it. The log needs no
right of its own to write metrics. Standard library alone.
"""

import json
import os
import sys
import time
import urllib.request

ADDRESS = "http://127.0.0.1:8080/metrics"
FIGURE = "capillary_jobs_waiting "
EVERY_S = 30.0


def waiting(figures: str) -> float | None:
    """The number in the service's figures; None if they do not have it."""
    lines = [line for line in figures.splitlines() if line.startswith(FIGURE)]
    return float(lines[0].removeprefix(FIGURE)) if lines else None


def line_of(service: str, count: float, now_s: float) -> str:
    """One line in CloudWatch's embedded metric format."""
    metric = {
        "Namespace": "Capillary",
        "Dimensions": [["Service"]],
        "Metrics": [{"Name": "JobsWaiting", "Unit": "Count"}],
    }
    head = {"Timestamp": int(now_s * 1000), "CloudWatchMetrics": [metric]}
    return json.dumps({"_aws": head, "Service": service, "JobsWaiting": count})


def ask() -> float | None:
    """The number now; None if the service does not answer, which is said."""
    try:
        with urllib.request.urlopen(ADDRESS, timeout=5) as answer:
            return waiting(answer.read(1_000_000).decode())
    except OSError as error:
        sys.stderr.write(f"the service does not answer: {error}\n")
        return None


def main() -> None:
    """Print a line every half minute until the process is ended."""
    service = os.environ["SERVICE"]
    while True:
        if (count := ask()) is not None:
            sys.stdout.write(line_of(service, count, time.time()) + "\n")
            sys.stdout.flush()
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
