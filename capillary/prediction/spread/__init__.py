"""A prediction in parts, each a job of the place that CAPILLARY_PLACE names (docs/cluster.md)."""
