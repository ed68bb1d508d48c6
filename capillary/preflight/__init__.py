"""Whether a run that starts now could end: what `capillary preflight` looks at on the host side."""

from capillary.preflight.run import as_json, read_preflight, run_preflight, show, tell
from stages.common.preflight.check import Check, Report, Status

__all__ = ["Check", "Report", "Status", "as_json", "read_preflight", "run_preflight", "show", "tell"]
