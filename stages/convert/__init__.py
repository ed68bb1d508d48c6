"""From a pickled model of a former version of capillary to description and weights; it has no network."""
