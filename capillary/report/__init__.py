"""The host's part of a report: what Git, DVC and this machine say, and a run of the stage that writes the pages."""

from capillary.report.write import folder_of, write_report
from stages.common.requests.report import CellFact, RunFacts

__all__ = ["CellFact", "RunFacts", "folder_of", "write_report"]
