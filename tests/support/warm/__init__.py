"""Commands that start in milliseconds: a server that has imported the libraries forks a child for each command.

Most of a small stage's time is imports: torch, MLflow, pandas and DVC take seconds in every process of a pipeline. A
test that looks at what a command does gets a `python`, `dvc` and `capillary` that hand arguments, environment, folder
and streams to the server. Installed packages and the tool's own host side are imported beforehand; a stage's code
comes from the folder in which it runs, and is there already if that leads to the files that the server imported.

Tests about processes themselves (signals, kills, who is whose child, what a guard refuses) use the real commands.
"""

from tests.support.warm.commands import warm_environment, warm_python, with_warm_commands, with_warm_dvc

__all__ = ["warm_environment", "warm_python", "with_warm_commands", "with_warm_dvc"]
