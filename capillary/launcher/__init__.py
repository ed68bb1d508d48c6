"""Planning a stage (planning.py) makes a value (plan.py); executing it is the work of one executor (process.py)."""
