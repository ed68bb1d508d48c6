"""Weights as one safetensors file: written from a network, and read into one that was built without memory.

A tensor that a network has under several names (DynUNet lists its layers twice) is stored once, under the first of
them; the description names the others. The file is untrusted: its header is compared with the network, tensor by
tensor, before any tensor is made.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from stages.common.errors import DamagedError

HEADER_BYTES = 1 << 20  # names, types and places of the tensors: far more than a network of eight levels needs
_LENGTH_BYTES = 8
_TYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}  # of parameters and of counters

Ties = dict[str, tuple[str, ...]]


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over the state dict: name, dtype, shape and bytes of each tensor, sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # through uint8, because numpy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def ties_of(network: torch.nn.Module) -> Ties:
    """First name of a tensor → its other names in the state dict, for each tensor that has several."""
    names: dict[int, list[str]] = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
    return {first: tuple(others) for first, *others in names.values() if others}


def weights_bytes(network: torch.nn.Module) -> bytes:
    """The content of the weights' file of `network`; equal weights give equal bytes."""
    state = network.state_dict()
    tied = {name for others in ties_of(network).values() for name in others}
    return save({name: tensor.cpu().contiguous() for name, tensor in state.items() if name not in tied})


def largest_file(network: torch.nn.Module) -> int:
    """How many bytes a file with the weights of `network` may have."""
    return _LENGTH_BYTES + HEADER_BYTES + sum(tensor.nbytes for tensor in _stored(network).values())


def fill(network: torch.nn.Module, content: bytes, ties: Mapping[str, tuple[str, ...]], origin: str) -> None:
    """Give `network`, which is on the meta device, the weights in `content`, a safetensors file.

    Raises DamagedError, naming `origin` and the tensor, unless the file has this network's tensors and no others.
    """
    if dict(ties) != ties_of(network):
        raise _damaged(origin, "its description ties tensors that the network does not tie", None)
    expected = _stored(network)
    _check_header(content, expected, origin)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise _damaged(origin, f"it is not a safetensors file: {error}", None) from error
    state = tensors | {other: tensors[name] for name, others in ties.items() for other in others}
    network.load_state_dict(state, strict=True, assign=True)
    unfilled = [name for name, tensor in _all_tensors(network) if tensor.is_meta]
    if unfilled or ties_of(network) != dict(ties):
        raise _damaged(origin, "it does not fill the network", ", ".join(unfilled))


def _all_tensors(network: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]


def _stored(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    tied = {name for others in ties_of(network).values() for name in others}
    return {name: tensor for name, tensor in network.state_dict().items() if name not in tied}


def _check_header(content: bytes, expected: Mapping[str, torch.Tensor], origin: str) -> None:
    """Names, types and shapes as the network has them, and places that follow one another to the end of the file."""
    header = _read_header(content, origin)
    if differing := sorted(header.keys() ^ expected.keys()):
        raise _damaged(origin, "it has other tensors than its description builds", ", ".join(differing)[:200])
    places = []
    for name, tensor in expected.items():
        entry = header[name]
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise _damaged(origin, f"its header is wrong at tensor {name}", repr(entry)[:200])
        if (entry["dtype"], entry["shape"]) != (_TYPES.get(tensor.dtype), list(tensor.shape)):
            wanted = f"{_TYPES.get(tensor.dtype, tensor.dtype)} {list(tensor.shape)}"
            raise _damaged(origin, f"tensor {name} is not {wanted}", f"{entry['dtype']} {entry['shape']}"[:200])
        places.append((*_offsets(entry["data_offsets"], name, origin), tensor.nbytes, name))
    _check_places(sorted(places), len(content) - _LENGTH_BYTES - _header_length(content, origin), origin)


def _offsets(value: Any, name: str, origin: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or any(type(place) is not int for place in value):
        raise _damaged(origin, f"its header is wrong at tensor {name}", repr(value)[:200])
    return value[0], value[1]


def _check_places(places: list[tuple[int, int, int, str]], size: int, origin: str) -> None:
    end = 0
    for start, stop, nbytes, name in places:
        if (start, stop) != (end, end + nbytes):
            raise _damaged(origin, f"tensor {name} is not where it should be", f"{start} to {stop}")
        end = stop
    if end != size:
        raise _damaged(origin, "it is longer or shorter than its tensors", f"{size:,} instead of {end:,} bytes")


def _read_header(content: bytes, origin: str) -> dict[str, Any]:
    length = _header_length(content, origin)
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length], object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise _damaged(origin, f"its header is not JSON: {error}", None) from error
    if not isinstance(header, dict):
        raise _damaged(origin, "its header is not a JSON object", type(header).__name__)
    return header


def _header_length(content: bytes, origin: str) -> int:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(HEADER_BYTES, len(content) - _LENGTH_BYTES):
        raise _damaged(origin, "its header is longer than it can be", f"{length:,} bytes of {len(content):,}")
    return length


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _damaged(origin: str, why: str, value: str | None) -> DamagedError:
    return DamagedError(f"the weights of a model are damaged: {why}", remedy="train it again", file=origin, value=value)
