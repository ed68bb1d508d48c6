"""The process executor: a plan run as a plain process, in a sandbox folder and under a guard."""
