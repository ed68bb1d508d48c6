"""OpenLineage events of stages, where CAPILLARY_LINEAGE asks for them. They never cost a stage anything."""
