"""One stack predicted by blocks: each is read, predicted and written by itself, and together they equal the whole.

Three steps, each a run of the stage: `survey`, `predict` (of some of the blocks, in any place), `join`.
"""
