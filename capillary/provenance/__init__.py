"""Where a run's code, data and packages come from: what Git, DVC and the settings of this machine say."""
