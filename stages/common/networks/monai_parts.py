"""What this project uses of MONAI, imported without the packages that MONAI would bring along.

`import monai` loads all of MONAI, and with it every installed package that some part of it can use: MLflow,
scikit-learn and others, for parts that nothing here uses. That takes longer than torch. They are out of its sight while
it is imported here, and it does as it does where they are not installed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("matplotlib", "mlflow", "scipy.signal", "sklearn", "zarr")


@contextmanager
def out_of_sight(packages: tuple[str, ...]) -> Iterator[None]:
    """Within it, importing one of `packages` fails as if it were not installed; what was imported before stays."""
    imported = {name: sys.modules[name] for name in packages if name in sys.modules}
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None: Python's own mark for "refuse it"
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]
        sys.modules.update(imported)


with out_of_sight(UNUSED):
    from monai.data.utils import compute_importance_map
    from monai.inferers.utils import sliding_window_inference
    from monai.networks.blocks.convolutions import Convolution, ResidualUnit
    from monai.networks.blocks.segresnet_block import ResBlock
    from monai.networks.blocks.upsample import UpSample
    from monai.networks.layers.simplelayers import SkipConnection
    from monai.networks.nets.dynunet import DynUNet
    from monai.networks.nets.segresnet import SegResNet
    from monai.networks.nets.unet import UNet

__all__ = [
    "Convolution",
    "DynUNet",
    "ResBlock",
    "ResidualUnit",
    "SegResNet",
    "SkipConnection",
    "UNet",
    "UpSample",
    "compute_importance_map",
    "sliding_window_inference",
]
