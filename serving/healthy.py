"""python -S -m serving.healthy: exit 0 if the service answers. A container's health check: standard library alone."""

import os
import sys
import urllib.request

PORT = os.environ.get("SERVE_PORT") or "8080"


def main() -> int:
    """Ask over loopback, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{PORT}/healthz", timeout=4) as answer:
            return 0 if answer.status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
