"""`capillary stage`, as DVC starts it: plans a stage, has an executor or a place run it, publishes its outs."""
