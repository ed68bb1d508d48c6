"""One training on several processes of one machine or of several: a GPU each, or shares of the CPU."""
