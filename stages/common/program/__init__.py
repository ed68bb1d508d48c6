"""How a program of ours speaks, shows progress, and ends."""
