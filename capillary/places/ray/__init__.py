"""Tasks of a Ray cluster: the head submits one per job and waits (execute.py), a worker carries it out (task.py).

Ray passes values between its own processes as pickles. Only plain strings travel here, and none comes from outside.
"""
