"""Where a stage's plan runs when it does not run on this machine: a job folder that any node can carry out."""
