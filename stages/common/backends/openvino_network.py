"""A network of torch as OpenVINO computes it: converted in memory, compiled for this processor.

Each patch goes through by itself, as many at a time as the run's share of the machine allows. So what a patch becomes
does not depend on the others of its batch. Nothing is written to the disk, and nothing is sent: the package that
reports OpenVINO's use to its maker is kept out of its sight.
"""

import copy
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from stages.common.imaging.zyx import Shape
from stages.common.layout import lay_out_plainly
from stages.common.machine.cpu import has_units_for
from stages.common.networks.monai_parts import out_of_sight

PACKAGE, _REPORTING = "openvino", ("openvino_telemetry",)


def is_installed() -> bool:
    """Whether OpenVINO can be imported; it is not imported."""
    return find_spec(PACKAGE) is not None


def precisions() -> tuple[str, ...]:
    """OpenVINO's names of the arithmetics that are worth a try on this processor, the fastest first."""
    return ("bf16", "f32") if has_units_for("bf16") else ("f32",)


class OpenVinoNetwork(nn.Module):
    """Patches (B, 1, z, y, x) to logits (B, 2, z, y, x) in float32, on the CPU. It has no parameters of torch."""

    def __init__(self, converted: Any, precision: str, threads: int, patches_at_a_time: int) -> None:
        """Compile `converted` (convert_network) for `threads`.

        As many patches at a time as there are threads, each on one, if that many are allowed; else one on all threads.
        Streams of unequal numbers of threads would round differently, and which patch met which would be chance.
        """
        super().__init__()
        streams = threads if threads <= patches_at_a_time else 1
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # other processes have their own share of the cores
        }
        compiled = _core().compile_model(converted, "CPU", settings)
        self._queue = _imported().AsyncInferQueue(compiled, streams)

    def forward(self, patches: Tensor) -> Tensor:
        """The logits of each patch."""
        given = patches.contiguous().numpy()
        logits: list[Tensor] = [torch.empty(0)] * len(given)

        def keep(request: Any, number: int) -> None:
            logits[number] = torch.from_numpy(request.get_output_tensor(0).data.copy())

        self._queue.set_callback(keep)
        for number in range(len(given)):
            self._queue.start_async({0: given[number : number + 1]}, number, share_inputs=True)
        self._queue.wait_all()
        return torch.cat(logits)


def convert_network(network: nn.Module, patch_voxels: Shape) -> Any:
    """`network`, in eval mode on the CPU, as OpenVINO's model of one patch (1, 1, z, y, x)."""
    openvino = _imported()
    with out_of_sight(_REPORTING):
        from openvino.frontend import FrontEndManager  # type: ignore[import-untyped,unused-ignore]
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    frontend = FrontEndManager().load_by_framework("pytorch")
    traced = TorchScriptPythonDecoder(_traced(network, patch_voxels))
    model = frontend.convert(frontend.load(traced))
    model.reshape(openvino.PartialShape([1, 1, *patch_voxels]))
    return model


def version() -> str:
    """OpenVINO's, such as 2026.4.1."""
    return str(_imported().__version__).partition("-")[0]


def _traced(network: nn.Module, patch_voxels: Shape) -> torch.jit.ScriptModule:
    plain = copy.deepcopy(network)
    lay_out_plainly(plain)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes become constants, as they should: there is one size of patch
        traced: torch.jit.ScriptModule = torch.jit.trace(  # type: ignore[no-untyped-call]
            plain, torch.zeros(1, 1, *patch_voxels), check_trace=False
        )
    return traced


@cache
def _core() -> Any:
    """One for the process, for as long as it lives.

    Each Core gives its thread a stack for signal handlers, and puts the former one back when it goes. Of two that go in
    the order in which they came, the second puts back the first one's, which is gone: the next Ctrl-C or SIGTERM ends
    the process with a segmentation fault.
    """
    return _imported().Core()


def _imported() -> Any:
    with out_of_sight(_REPORTING):
        import openvino  # type: ignore[import-untyped,unused-ignore]
    return openvino
