"""`capillary dataset`: write the table of a folder of stacks."""
