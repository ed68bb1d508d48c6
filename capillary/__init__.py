"""The tool on the host side: command line, launcher, experiments. No stage imports it."""
