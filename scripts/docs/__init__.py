"""The documentation site: pages generated from code, and links that leave it."""
