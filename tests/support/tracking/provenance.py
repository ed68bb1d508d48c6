"""A training's provenance, for tests that change one of its values."""

import dataclasses
from typing import Any

from stages.common.provenance.record import Computing, Machine, ProvenanceRecord, Software
from stages.common.runtime import Provenance, SourceData

HOST = Provenance(
    commit="c" * 40,
    remote="https://example.org/lab/vessels.git",
    source=SourceData(path="samples/phantom", hash_name="md5", hash="aa.dir"),
    data={"data/processed": "bb.dir"},
    environment=("3.11.7", "x86_64"),
    tools={"capillary": "0.1.0", "dvc": "3.67.1"},
)
MACHINE = Machine(system="Linux 6.1, x86_64", cpu="A", cpu_flags=("avx2", "avx512_bf16"), cores=8)
SOFTWARE = Software(
    python="CPython 3.11.7",
    packages={"torch": "2.13.0", "rich": "15.0.0"},
    torch="2.13.0",
    torch_cuda="cpu",
    kernels="AVX2",
)
COMPUTING = Computing(
    device="cpu", threads=4, processes=1, precision="fp32", switches="none", profile="cpu", seeds={"training": 7}
)


def provenance_record(host: dict[str, Any] | None = None, **changes: Any) -> ProvenanceRecord:
    """One training, with `host` changed in its host's half, and `changes` in the record."""
    values = {
        "stage": "train@dice_ce-0",
        "fingerprint": "f",
        "data_fingerprint": "d",
        "code_fingerprint": "e",
        "host": dataclasses.replace(HOST, **(host or {})),
        "machine": MACHINE,
        "software": SOFTWARE,
        "computing": COMPUTING,
    }
    return ProvenanceRecord(**{**values, **changes})
