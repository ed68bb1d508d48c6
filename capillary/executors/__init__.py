"""Who runs plans: an executor is one class or module with the four methods of `Executor` (choose.py)."""
