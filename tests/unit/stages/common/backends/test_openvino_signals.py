"""Networks of OpenVINO come and go, and a signal still meets a stack for its handler."""

import ctypes
import gc
from pathlib import Path

import pytest
import torch

from stages.common.backends.openvino_network import OpenVinoNetwork, convert_network, is_installed

PATCH = (2, 4, 4)


class SignalStack(ctypes.Structure):
    """stack_t of <signal.h> on Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.mark.skipif(not is_installed(), reason="openvino is not installed")
def test_the_stack_of_signal_handlers_outlives_the_networks() -> None:
    """Two at once, the first dropped first: if each had a Core, the second would leave the memory of the first one."""
    first, second = made(), made()
    del first
    gc.collect()
    del second
    gc.collect()
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    assert stack.address is None or is_mapped(stack.address, stack.size)


def made() -> OpenVinoNetwork:
    """A convolution."""
    network = torch.nn.Conv3d(1, 2, 1).eval()
    return OpenVinoNetwork(convert_network(network, PATCH), "f32", 1, 1)


def is_mapped(address: int, size: int) -> bool:
    """Whether all of it is memory of this process."""
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(first, 16) <= address and address + size <= int(end, 16) for first, end in ranges)
