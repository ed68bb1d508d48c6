"""Who hears that a stage runs and how it ended: a lineage catalogue, Prometheus. They never cost a stage anything."""
