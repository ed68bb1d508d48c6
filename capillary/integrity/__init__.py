"""Whether files that a run relies on are whole: dvc.lock, and what DVC's cache delivered."""
