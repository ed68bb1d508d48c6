"""The processor: its name, and the instruction sets by which kernels choose how they compute."""

import platform
from collections.abc import Mapping
from pathlib import Path

# as /proc/cpuinfo calls them (x86, then ARM)
FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16"),
)
# the instruction sets that compute half types; without one of them a convolution takes ten times as long as in float32
_UNITS = {"bf16": {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}, "fp16": {"avx512_fp16", "asimdhp"}}
_CPU_INFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """The CPU's model name; empty if the system does not say."""
    return _cpu_info().get("model name") or platform.processor()


def cpu_flags() -> tuple[str, ...]:
    """Which of FLAGS it has."""
    info = _cpu_info()
    has = set((info.get("flags") or info.get("Features") or "").split())
    return tuple(flag for flag in FLAGS if flag in has)


def has_units_for(precision: str) -> bool:
    """Whether it computes `precision` (fp32, bf16 or fp16) in hardware."""
    return precision not in _UNITS or not _UNITS[precision].isdisjoint(cpu_flags())


def _cpu_info() -> Mapping[str, str]:
    return first_processor(_CPU_INFO.read_text(errors="replace") if _CPU_INFO.is_file() else "")


def first_processor(text: str) -> Mapping[str, str]:
    """The first processor in the text of /proc/cpuinfo."""
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
