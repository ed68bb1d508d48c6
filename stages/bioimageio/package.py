"""The package: the network as TorchScript, rdf.yaml, a test input with its output, and a page for people."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from stages.bioimageio.page import page
from stages.bioimageio.recipe import prepare, preprocessing, refuse_inexpressible
from stages.common.errors import CapillaryError, ExitCode
from stages.common.program.messages import get_logger
from stages.common.tracking.cards.card import ModelCard

log = get_logger(__name__)

PACKAGE = "package"
FORMAT = "0.5.3"
WEIGHTS, RDF, PAGE = "weights.pt", "rdf.yaml", "README.md"
TEST_INPUT, TEST_OUTPUT = "test_input.npy", "test_output.npy"
TOLERANCE = 1e-4  # of a probability, between exports and other versions of torch
_SPACE = ("z", "y", "x")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What people said of the package: its authors, and its license by SPDX's name, empty if nobody said."""

    authors: tuple[str, ...]
    license: str


class Probability(torch.nn.Module):
    """A network with the last step of capillary's inference: logits become the probability of vessel."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """(B, 1, z, y, x) to probabilities of that shape."""
        probability: torch.Tensor = self.network(patches).softmax(dim=1)[:, 1:]
        return probability


def write_package(
    network: torch.nn.Module, strides: Sequence[Sequence[int]], card: ModelCard, labels: Labels, folder: Path
) -> None:
    """Write the package of `network`, whose `strides` (a level each) and card are given, to `folder`.

    Raises DataError for a recipe that BioImage.IO cannot express, and CapillaryError when TorchScript computes another
    result than the network.
    """
    refuse_inexpressible(card.recipe)
    folder.mkdir(parents=True, exist_ok=True)
    model, image = Probability(network).eval(), example(card.patch_voxels)
    prepared = torch.from_numpy(prepare(image, card.recipe))
    step = step_of(strides)
    with torch.inference_mode():
        expected = model(prepared)
    script = _script(model, prepared, expected, step)
    script.save(str(folder / WEIGHTS))
    np.save(folder / TEST_INPUT, image)
    np.save(folder / TEST_OUTPUT, expected.numpy())
    (folder / PAGE).write_text(page(card), encoding="utf-8")
    files = {name: _sha256(folder / name) for name in (WEIGHTS, PAGE, TEST_INPUT, TEST_OUTPUT)}
    text = yaml.safe_dump(describe(card, labels, files, step), sort_keys=False, allow_unicode=True)
    (folder / RDF).write_text(text, encoding="utf-8")
    size = sum(file.stat().st_size for file in folder.iterdir())
    log.info(f"exported loss {card.loss}, fold {card.fold} as BioImage.IO {FORMAT} ({size:,} bytes)")


def example(patch_voxels: Sequence[int]) -> NDArray[np.float32]:
    """A patch (1, 1, z, y, x) of intensities as a 12-bit camera has them, with a bright tube; always the same one."""
    random = np.random.default_rng(2026)
    image = random.normal(300, 40, size=(1, 1, *patch_voxels))
    middle_y, middle_x = patch_voxels[1] // 2, patch_voxels[2] // 2
    image[:, :, :, middle_y - 2 : middle_y + 2, middle_x - 2 :] += 900
    return np.clip(np.rint(image), 0, 4095).astype(np.float32)


def step_of(strides: Sequence[Sequence[int]]) -> tuple[int, int, int]:
    """By how much each axis (z, y, x) may grow: what the network divides it by, over all levels."""
    z, y, x = (math.prod(stride[axis] for stride in strides) for axis in range(3))
    return z, y, x


def _script(model: torch.nn.Module, prepared: torch.Tensor, expected: torch.Tensor, step: Sequence[int]) -> Any:
    """The network as TorchScript, which must give the same for the example and work on larger patches, too."""
    with torch.inference_mode(False), torch.no_grad():
        jit: Any = torch.jit  # without types
        script = jit.trace(model, prepared.clone(), check_trace=False)
        found = script(prepared.clone())
        shape = [size + more for size, more in zip(prepared.shape[2:], step, strict=True)]
        larger = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
        alike = torch.allclose(found, expected, atol=TOLERANCE) and torch.allclose(
            script(larger), model(larger), atol=TOLERANCE
        )
    if not alike:
        raise CapillaryError(
            "the TorchScript gives another result than the network it was made from",
            remedy="report it with the architecture's name; nothing was exported",
            code=ExitCode.UNEXPECTED,
        )
    return script


def describe(card: ModelCard, labels: Labels, files: dict[str, str], step: Sequence[int]) -> dict[str, Any]:
    """rdf.yaml. Whoever reads it learns axes, sizes, preparation and what the numbers mean."""
    space = [
        {"type": "space", "id": axis, "size": {"min": size, "step": more}}
        for axis, size, more in zip(_SPACE, card.patch_voxels, step, strict=True)
    ]
    same = [{"type": "space", "id": axis, "size": {"tensor_id": "stack", "axis_id": axis}} for axis in _SPACE]
    source = {name: {"source": name, "sha256": digest} for name, digest in files.items()}
    return {
        "format_version": FORMAT,
        "type": "model",
        "name": f"Blood vessels in 3D {card.loss} fold {card.fold}".replace("_", "-"),
        "description": "Probability of vessel for each voxel of a 3D microscope stack of blood vessels.",
        "authors": [{"name": name} for name in labels.authors],
        **({"license": labels.license} if labels.license else {}),
        "cite": [
            {"text": "capillary: https://pypi.org/project/capillary", "url": "https://pypi.org/project/capillary"}
        ],
        "documentation": PAGE,
        "tags": ["3d", "segmentation", "blood vessels", "microscopy", "pytorch"],
        "inputs": [
            {
                "id": "stack",
                "description": "raw intensities",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["intensity"]}, *space],
                "test_tensor": source[TEST_INPUT],
                "data": {"type": "float32"},
                "preprocessing": preprocessing(card.recipe),
            }
        ],
        "outputs": [
            {
                "id": "probability",
                "description": "probability of vessel",
                "axes": [{"type": "batch"}, {"type": "channel", "channel_names": ["vessel"]}, *same],
                "test_tensor": source[TEST_OUTPUT],
                "data": {"type": "float32", "range": [0, 1]},
            }
        ],
        "weights": {
            "torchscript": {**source[WEIGHTS], "pytorch_version": torch.__version__.partition("+")[0]},
        },
        "config": {
            "bioimageio": {
                "reproducibility_tolerance": [{"absolute_tolerance": TOLERANCE, "relative_tolerance": 1e-3}]
            },
            "capillary": {"weights_sha256": card.weights_sha256, "fingerprint": card.fingerprint},
        },
    }


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
