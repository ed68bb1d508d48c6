"""From a pickled model of an earlier version of capillary to description and weights; it has no network."""
