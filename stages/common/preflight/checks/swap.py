"""Swap: a warning when it is nearly full, which makes a machine slow before it makes it fail."""

import psutil

from stages.common.preflight.check import GB, Check, passed, warned
from stages.common.preflight.params import SwapParams

_EMPTY_IT = "free memory first, then empty it: sudo swapoff -a && sudo swapon -a"


def check_swap(total_bytes: int, used_bytes: int, params: SwapParams, *, in_container: bool) -> Check:
    """Size and use of swap. Skipped in a container, which has no swap of its own to change."""
    if in_container:
        return passed("swap", "skipped in a container")
    used_percent = 100 * used_bytes / total_bytes if total_bytes else 0.0
    value = f"{used_percent:.0f}% of {total_bytes / GB:.1f} GB used"
    if total_bytes / GB < params.min_total_gb:
        size_gb = f"{params.min_total_gb:g}"
        make = f"sudo fallocate -l {size_gb}GB /swapfile && sudo chmod 600 /swapfile"
        remedy = f"{make} && sudo mkswap /swapfile && sudo swapon /swapfile"
        return warned("swap", value, f"at least {size_gb} GB", remedy)
    threshold = f"at most {params.max_used_percent:g}% and {params.max_used_gb:g} GB used"
    if used_percent > params.max_used_percent or used_bytes / GB > params.max_used_gb:
        return warned("swap", value, threshold, _EMPTY_IT)
    return passed("swap", value, threshold)


def swap_now() -> tuple[int, int]:
    """Total and used, in bytes."""
    now = psutil.swap_memory()
    return int(now.total), int(now.used)
