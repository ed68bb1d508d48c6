"""Planning a stage is a value (plan.py); executing it is the work of one executor (process.py)."""
