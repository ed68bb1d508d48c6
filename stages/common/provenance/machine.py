"""What this machine and this interpreter say of themselves."""

import functools
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

# instruction sets by which kernels differ, as /proc/cpuinfo calls them (x86, then ARM)
FLAGS = (
    *("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "svebf16"),
)
_CPU_INFO = Path("/proc/cpuinfo")


def system() -> str:
    """Such as `Linux 6.1.0, x86_64`."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def cpu() -> tuple[str, tuple[str, ...]]:
    """The processor's name, and which of FLAGS it has."""
    info = _cpu_info(_CPU_INFO.read_text(errors="replace") if _CPU_INFO.is_file() else "")
    has = set((info.get("flags") or info.get("Features") or "").split())
    return info.get("model name") or platform.processor() or platform.machine(), tuple(
        flag for flag in FLAGS if flag in has
    )


def _cpu_info(text: str) -> Mapping[str, str]:
    """The first processor in the text of /proc/cpuinfo."""
    first = text.partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def python() -> str:
    """Such as `CPython 3.11.4`."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def packages() -> dict[str, str]:
    """Every installed distribution with its version, sorted. Of two with one name the first on the path counts."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        name = each.metadata["Name"]
        if name:
            found.setdefault(name.lower().replace("_", "-"), each.version)
    return dict(sorted(found.items()))
