"""One page that a person can send: what an experiment found, how sure that is, how to repeat it (docs/report.md)."""
