"""What differs between two runs of a stage, each difference with its name and both values."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from capillary.yaml_file import leaves
from stages.common.provenance.record import ProvenanceRecord
from stages.common.runtime import Provenance

ABSENT = "–"
CARDS = "models"
MOST_PACKAGES = 20
# a package that computes comes first in the list
_COMPUTING = ("torch", "monai", "numpy", "scipy", "scikit-image", "nvidia-", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """`name` is what differs; `then` and `now` are its values."""

    name: str
    then: str
    now: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One training or evaluation as far as it can be compared. `params` are those of params.yaml, all stages."""

    record: ProvenanceRecord
    params: Mapping[str, Any]


def differences(then: Trained, now: Trained) -> tuple[Difference, ...]:
    """Everything that differs in what decides a result, from the code to the machine."""
    pairs = (
        *_code(then.record.host or Provenance(), now.record.host or Provenance()),
        *_params(then.params, now.params),
        *_environment(then.record, now.record),
        *_machine(then.record, now.record),
        *_packages(then.record.software.packages, now.record.software.packages),
        *_incomplete(then.record),
    )
    return tuple(pair for pair in pairs if pair.then != pair.now)


def evaluation_differences(then: Trained, now: Trained) -> tuple[Difference, ...]:
    """The same of two evaluations, but for the cards: weights are compared by themselves, and one loss is evaluated."""
    return tuple(each for each in differences(then, now) if each.name != f"data: {CARDS}")


def _pair(name: str, then: object, now: object) -> Difference:
    return Difference(name=name, then=_shown(then), now=_shown(now))


def _shown(value: object) -> str:
    return ABSENT if value is None or value == "" or value == () else str(value)


def _code(then: Provenance, now: Provenance) -> Iterator[Difference]:
    yield _pair("commit", then.commit, now.commit)
    yield _pair("changes on top of the commit", then.diff_sha256, now.diff_sha256)
    for name in sorted({*then.data, *now.data}):
        yield _pair(f"data: {name}", then.data.get(name), now.data.get(name))
    if then.source and now.source:
        yield _pair(f"source: {then.source.path}", then.source.hash, now.source.hash)


def _params(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    one, other = ({key: json.dumps(value) for key, value in leaves(dict(tree))} for tree in (then, now))
    for key in sorted({*one, *other}):
        yield _pair(f"param: {key}", one.get(key), other.get(key))


def _environment(then: ProvenanceRecord, now: ProvenanceRecord) -> Iterator[Difference]:
    one, other = (each.host.environment if each.host else () for each in (then, now))
    yield _pair("interpreter or image", ", ".join(one), ", ".join(other))
    yield _pair("python", then.software.python, now.software.python)
    yield _pair("torch", _torch(then), _torch(now))


def _torch(record: ProvenanceRecord) -> str:
    return f"{record.software.torch}, CUDA {record.software.torch_cuda}"


def _machine(then: ProvenanceRecord, now: ProvenanceRecord) -> Iterator[Difference]:
    yield _pair("operating system", then.machine.system, now.machine.system)
    yield _pair("CPU", then.machine.cpu, now.machine.cpu)
    missing, added = _flags(then, now), _flags(now, then)
    if missing or added:
        yield _pair("CPU instructions", f"also {missing}" if missing else "", f"also {added}" if added else "")
    yield _pair("kernels of torch", then.software.kernels, now.software.kernels)
    yield _pair("GPU", ", ".join(then.machine.devices), ", ".join(now.machine.devices))
    for name in ("device", "precision", "threads", "processes", "switches"):
        yield _pair(name, getattr(then.computing, name), getattr(now.computing, name))
    for name in sorted({*then.computing.seeds, *now.computing.seeds}):
        yield _pair(f"seed: {name}", then.computing.seeds.get(name), now.computing.seeds.get(name))


def _flags(one: ProvenanceRecord, other: ProvenanceRecord) -> str:
    return " ".join(flag for flag in one.machine.cpu_flags if flag not in other.machine.cpu_flags)


def _packages(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    changed.sort(key=lambda name: not name.startswith(_COMPUTING))
    for name in changed[:MOST_PACKAGES]:
        yield _pair(f"package: {name}", then.get(name), now.get(name))
    if len(changed) > MOST_PACKAGES:
        yield Difference(name="package: others", then=f"{len(changed) - MOST_PACKAGES} more", now="differ")


def _incomplete(then: ProvenanceRecord) -> Iterator[Difference]:
    """What the record itself says is not whole: the reproduction could not repeat it."""
    host = then.host or Provenance()
    if host.diff in {"masked", "incomplete"}:
        why = {"masked": "secrets were masked", "incomplete": "links or large new files were left out"}[host.diff]
        yield Difference(name="changes as they were recorded", then=why, now="without them")
    if then.computing.resumed_after:
        yield Difference(
            name="checkpoint",
            then=f"resumed after epoch {then.computing.resumed_after}, perhaps on another machine",
            now="from the beginning",
        )
