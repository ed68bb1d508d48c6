"""params.yaml and dvc.lock as a registry gave them: nothing in them may cost more memory than they have bytes."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common.errors import DataError

MOST_VALUES = 200_000


def read_mapping(content: bytes, what: str) -> dict[str, Any]:
    """`content` as a mapping. Raises DataError for anything else, and for aliases that unfold without an end."""
    try:
        tree = YAML(typ="safe", pure=True).load(content.decode("utf-8"))
    except (YAMLError, ValueError, RecursionError) as error:
        raise refused(what, f"it cannot be read: {str(error)[:200]}") from error
    if not isinstance(tree, dict):
        raise refused(what, "it is not a mapping")
    if _count(tree, {}) > MOST_VALUES:
        raise refused(what, f"it expands to more than {MOST_VALUES:,} values")
    return tree


def _count(node: object, known: dict[int, int]) -> int:
    """How many values `node` has once its aliases are unfolded; each shared part is counted once."""
    if not isinstance(node, dict | list):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # of a part that holds itself
        inner = node.values() if isinstance(node, dict) else node
        known[id(node)] = min(MOST_VALUES + 1, 1 + sum(_count(each, known) for each in inner))
    return known[id(node)]


def refused(what: str, why: str) -> DataError:
    """The error about the recorded file `what`."""
    return DataError(
        f"the recorded {what} does not have the form that capillary writes", remedy="name another version", value=why
    )
