"""What a stage uses while it works: memory of its processes, the guard over it, and samples of the load."""
