"""What is measured between a predicted and a reference mask; one file a family of metrics."""
