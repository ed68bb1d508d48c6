"""MONAI is imported as stages import it, before a benchmark imports it as a whole: that takes three times as long."""

import stages.common.networks.monai_parts  # noqa: F401
