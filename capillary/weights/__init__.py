"""Networks in DVC's remote as well as in the registry, if the team says so in configs/tracking.yaml."""
