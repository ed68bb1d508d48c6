"""python -m stages.report: the results of a workspace as pages, as its order says."""

from stages.common.requests.report import read_request
from stages.common.runtime import read_runtime
from stages.common.stage_main import run_stage
from stages.report.collect import collect
from stages.report.write import write_report


def main() -> None:
    """Read the launcher's request, collect, write."""
    write_report(collect(read_request(), read_runtime()))


if __name__ == "__main__":
    run_stage(main)
