"""Stacks and volumes: reading, geometry, normalisation, connected components, the recipe of what was prepared."""
