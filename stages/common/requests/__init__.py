"""What the host asks of stages without an entry in dvc.yaml, and what they leave for it. Light to import: no NumPy."""
