"""What `capillary predict` and the stage `predict` hand each other: a request, and what became of it."""
