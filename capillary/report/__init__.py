"""One page that a person can send: what an experiment found, how sure that is, how to repeat it (docs/report.md)."""

from capillary.report.facts import CellFact, RunFacts
from capillary.report.write import folder_of, write_report

__all__ = ["CellFact", "RunFacts", "folder_of", "write_report"]
