"""What the nodes of a job run, at whatever place: the job, the other nodes' parts of it, and what they say of both."""
