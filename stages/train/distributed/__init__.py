"""One training on several processes of one machine: a GPU each, or shares of the CPU."""
