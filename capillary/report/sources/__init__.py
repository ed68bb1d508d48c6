"""Where a report's facts come from: files, Git, DVC, MLflow."""
