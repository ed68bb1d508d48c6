"""What a stage is told by order.json, for tests that start a stage by themselves or change a plan."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from capillary.planning.plan import StagePlan
from stages.common.runtime import ORDER_FILE, Compute, GateOrder, Monitoring, StageOrder, order_json

PARTS: dict[str, Any] = {"compute": Compute(), "monitoring": Monitoring(), "gate": GateOrder()}


def change_order(order: StageOrder, **changes: Any) -> StageOrder:
    """`order` with `changes`; one that names a key of a part, such as `threads`, is made in that part."""
    for name, usual in PARTS.items():
        own = {key: changes.pop(key) for key in {field.name for field in fields(usual)} & changes.keys()}
        if own:
            changes[name] = replace(changes.get(name) or getattr(order, name) or usual, **own)
    return replace(order, **changes)


def change_plan(plan: StagePlan, **changes: Any) -> StagePlan:
    """`plan` with `changes` of its own, and those of its order; `address` is the order's `stage`."""
    if "address" in changes:
        plan = replace(plan, order=replace(plan.order, stage=changes.pop("address")))
    own = {field.name: changes.pop(field.name) for field in fields(plan) if field.name in changes}
    return replace(plan, order=change_order(plan.order, **changes), **own)


def write_order(folder: Path, **changes: Any) -> None:
    """order.json in `folder`: that of one worker and one thread, but for `changes`."""
    order = change_order(StageOrder(), **{"workers": 1, "threads": 1, **changes})
    (folder / ORDER_FILE).write_bytes(order_json(order))
