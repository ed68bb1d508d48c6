"""Jobs of a Slurm cluster: sbatch starts a node's part (node.py), the head waits for it (execute.py)."""
