"""How a step is computed: arithmetic, memory format, compilation, patches at a time; only what was probed."""
