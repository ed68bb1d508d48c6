"""Where a report has its numbers from: what stages left in this workspace, and MLflow."""
