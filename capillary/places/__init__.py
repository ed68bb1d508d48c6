"""Where a stage's plan runs if not on this machine: a job folder that any node can execute."""
