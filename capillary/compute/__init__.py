"""What this machine has, and how much of it a stage uses. None of it may change which result comes."""
