"""DVC's own errors, for those who ask it through this room."""

from dvc.exceptions import DvcException

__all__ = ["DvcException"]
