"""MLflow for tests: a double on this machine, fakes, a faulty proxy, runs and trainings with known content."""
