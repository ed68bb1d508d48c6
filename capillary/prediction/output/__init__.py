"""The output folder of many stacks: what it holds already, what it remembers, and how files come into it."""
