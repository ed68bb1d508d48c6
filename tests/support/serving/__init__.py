"""The service and its page in tests: a worker that stands in for networks, a browser."""
