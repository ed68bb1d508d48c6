"""Masks: connected parts, points that carry the topology, and the centreline."""
