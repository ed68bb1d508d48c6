"""How kernels follow from the spacing, by the name that params.yaml gives the rule. Imports neither torch nor NumPy."""

import enum


class KernelRule(enum.StrEnum):
    """Which axes a convolution spans (stages/common/networks/plan.py)."""

    AUTO = "auto"
    FULL = "full"
