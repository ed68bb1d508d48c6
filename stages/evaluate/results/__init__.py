"""The tables, files and log lines that evaluate leaves."""
