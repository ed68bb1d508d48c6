"""`capillary new NAME`: one's own pipeline, from the files of samples/iris."""
