"""A network that is ready to predict: by torch, or by OpenVINO where that is faster and decides alike.

What is taken follows from the setting, the size of the stack, the processor, the packages and the probe (probe.py). No
clock is asked, so equal runs on a machine take the same.
"""

import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from stages.common.backends.openvino_network import (
    OpenVinoNetwork,
    convert_network,
    is_installed,
    precisions,
    version,
)
from stages.common.backends.probe import Evidence, compare, probe_patches
from stages.common.backends.settings import BackendSettings
from stages.common.errors import MachineError
from stages.common.inference import device_of
from stages.common.layout import lay_out_for_prediction
from stages.common.machine.cpu import has_units_for
from stages.common.program.messages import get_logger
from stages.common.registered.loading import autocast_of
from stages.common.tracking.cards.card import ModelCard

log = get_logger(__name__)

TORCH = "torch"
Computing = tuple[nn.Module, torch.dtype | None]  # a network, and the type of its autocast


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`name` is torch, or OpenVINO with its version and precision; `reason` says why in a phrase."""

    name: str
    reason: str

    @property
    def words(self) -> str:
        """Both."""
        return f"{self.name}: {self.reason}"


class OtherwiseError(Exception):
    """OpenVINO computes the network, but decides otherwise than torch."""


class PreparedNetwork:
    """The network of `card`, in eval mode on its device."""

    def __init__(self, network: nn.Module, card: ModelCard, settings: BackendSettings) -> None:
        self._card, self._settings = card, settings
        self._title = f"the network of loss {card.loss}, fold {card.fold}"
        self._network, self._dtype = network, self._dtype_on(device_of(network))
        lay_out_for_prediction(network, self._dtype)
        self.choice: Choice | None = None  # once a stack was large enough to ask
        self.used: set[str] = set()  # names of what computed stacks

    def for_work(self, voxels: int) -> Computing:
        """What computes a stack of so many `voxels` (settings.work_voxels).

        Raises MachineError where evaluation.backend is openvino and that cannot compute this network here.
        """
        if self._may_convert(voxels) and self._openvino is not None and self.choice is not None:
            self.used.add(self.choice.name)
            return self._openvino, None
        self.used.add(TORCH if self._dtype is autocast_of(self._card) else f"{TORCH} fp32")
        return self._network, self._dtype

    def _may_convert(self, voxels: int) -> bool:
        is_possible = device_of(self._network).type == "cpu" or self._settings.asked == "openvino"
        return is_possible and self._settings.may_convert(voxels)

    def _dtype_on(self, device: torch.device) -> torch.dtype | None:
        """That of the training; float32 under auto on a processor that could only emulate it."""
        dtype, precision = autocast_of(self._card), self._card.precision
        if device.type != "cpu" or self._settings.asked != "auto" or has_units_for(precision):
            return dtype
        log.info(f"{self._title} was trained in {precision}, which this processor would emulate: torch takes fp32")
        return None

    @cached_property
    def _openvino(self) -> OpenVinoNetwork | None:
        """The network by OpenVINO; None where torch computes it."""
        if device_of(self._network).type != "cpu":
            self._by_torch("a GPU computes it")
        elif not is_installed():
            self._by_torch("the package openvino is not installed")
        else:
            try:
                return self._first_equal()
            except OtherwiseError as error:
                self._by_torch(str(error))
            except Exception as error:  # noqa: BLE001 - OpenVINO's own have no common class; torch computes the network
                self._by_torch(f"OpenVINO cannot compute this network: {_first_line(error)}")
        return None

    def _first_equal(self) -> OpenVinoNetwork:
        """In the fastest precision that decides as torch does. Raises OtherwiseError where none does."""
        began, reasons = time.monotonic(), []
        converted = convert_network(self._network, self._card.patch_voxels)
        for precision in precisions():
            found = OpenVinoNetwork(converted, precision, self._settings.threads, self._settings.patches_at_a_time)
            evidence = self._probe(found)
            if evidence.is_equal:
                self._take(precision, evidence, time.monotonic() - began)
                return found
            reasons.append(f"in {precision} only {evidence.words()}, its logits deviate by {evidence.error:.0%}")
        raise OtherwiseError("; ".join(reasons))

    def _probe(self, candidate: nn.Module) -> Evidence:
        patches = probe_patches(self._card)
        with torch.inference_mode():
            exact, found = (network(patches) for network in (self._network, candidate))
        return compare(exact[:, 1] - exact[:, 0], found[:, 1] - found[:, 0])

    def _take(self, precision: str, evidence: Evidence, seconds: float) -> None:
        self.choice = Choice(name=f"OpenVINO {version()} {precision}", reason=evidence.words())
        log.info(f"{self._title} is computed by {self.choice.words}; converted and compared in {seconds:.1f} s")

    def _by_torch(self, reason: str) -> None:
        self.choice = Choice(name=TORCH, reason=reason)
        if self._settings.asked == "openvino":
            raise MachineError(
                f"evaluation.backend is openvino, but torch has to compute {self._title}: {reason}",
                remedy="set evaluation.backend to auto or torch in params.yaml"
                + ("" if is_installed() else ", or install it: ./just setup"),
            )
        log.info(f"{self._title} is computed by {self.choice.words}")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"
