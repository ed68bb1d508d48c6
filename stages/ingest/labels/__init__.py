"""What a label is: its values, and where it lies in the world of its image."""
