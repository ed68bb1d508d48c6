"""What a stage leaves: checked, moved into the workspace in one step, kept until dvc.lock has it, later cleared."""
