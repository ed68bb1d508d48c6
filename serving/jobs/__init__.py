"""Jobs: a record and files in a folder each, a queue, one worker that takes them in turn."""
