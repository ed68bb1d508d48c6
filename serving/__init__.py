"""The HTTP service that segments stacks: jobs on disk, one worker process per model, tokens, limits."""

VERSION = "1"
