"""How people write down a set of stacks: a table, or folders of a known layout. Standard library alone."""
