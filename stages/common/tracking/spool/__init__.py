"""The record of a run on this disk: written first, sent to a server when there is one (docs/tracking.md)."""
