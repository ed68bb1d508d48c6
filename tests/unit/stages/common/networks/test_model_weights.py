"""Weights as safetensors and a description: every architecture comes back bit for bit, and nothing hostile is read."""

import dataclasses
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from stages.common.errors import DamagedError, DataError
from stages.common.networks.catalogue import ARCHITECTURES, build_network
from stages.common.networks.description import (
    DESCRIPTION_BYTES,
    ModelDescription,
    describe,
    description_bytes,
    read_description,
)
from stages.common.networks.loading import load_network, outline, refuse_size
from stages.common.networks.plan import plan_network
from stages.common.networks.supervision import plain
from stages.common.networks.weights import ties_of, weights_bytes, weights_sha256
from tests.support.models.networks import description_of, random_network
from tests.support.models.recipe import RECIPE

PLAN = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(12, 32, 32), filters=(4, 8, 16))


def _described(architecture: str, network: torch.nn.Module) -> ModelDescription:
    recipe = dataclasses.asdict(RECIPE)
    return describe(architecture, PLAN, precision="bf16", recipe=recipe, ties=ties_of(network))


@pytest.mark.parametrize("heads", [False, True], ids=["plain", "deep supervision"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_comes_back_bit_for_bit_with_its_ties(architecture: str, heads: bool) -> None:
    """From a description that went through JSON: equal state dict, equal ties, equal logits, in eval mode."""
    network = plain(build_network(PLAN, 3, architecture=architecture, deep_supervision=heads)).eval()
    description = read_description(description_bytes(_described(architecture, network)), "here")
    loaded = load_network(description, weights_bytes(network), "here")
    assert not any(part.training for part in loaded.modules())
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert ties_of(loaded) == ties_of(network)
    assert sum(one.numel() for one in loaded.parameters()) == sum(one.numel() for one in network.parameters())
    assert weights_sha256(loaded) == weights_sha256(network)
    patch = torch.rand(1, 1, 12, 16, 16)
    assert torch.equal(loaded(patch), network(patch))


def test_a_tied_tensor_is_stored_once() -> None:
    """DynUNet lists its layers twice; changing one name of a loaded tensor changes the others."""
    network = plain(build_network(PLAN, 3, architecture="dynunet", deep_supervision=True))
    ties = ties_of(network)
    assert ties
    weights = weights_bytes(network)
    stored = sum(parameter.nbytes for parameter in network.parameters())
    assert stored < len(weights) < stored * 1.2
    loaded = load_network(_described("dynunet", network), weights, "here").state_dict()
    first, others = next(iter(ties.items()))
    loaded[first].add_(1.0)
    assert all(torch.equal(loaded[other], loaded[first]) for other in others)


def test_equal_networks_give_equal_bytes() -> None:
    """Of weights and description, whatever trained them."""
    one, other = (build_network(PLAN, 3, architecture="unet", deep_supervision=False) for _ in range(2))
    assert weights_bytes(one) == weights_bytes(other)
    assert description_bytes(_described("unet", one)) == description_bytes(_described("unet", other))


def test_a_network_is_outlined_without_memory_and_without_random_draws() -> None:
    """A description of wide layers costs nothing until its weights are there."""
    description = description_of(random_network())
    plan = description.plan.model_copy(update={"filters": (4096,) * 3, "kernels": ((7, 7, 7),) * 3})
    before = torch.random.get_rng_state()
    network = outline(description.model_copy(update={"plan": plan}), "here")
    assert all(parameter.is_meta for parameter in network.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)
    with pytest.raises(DataError, match="larger than its description allows"):
        refuse_size(outline(description, "here"), 1 << 40, "here")


class _Drawing(TorchFunctionMode):
    """Notes whether values are drawn from a normal distribution."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen = self.seen or func is torch.Tensor.normal_
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_outline_is_the_network_without_its_values(architecture: str) -> None:
    """Tensors on the meta device are not filled, for which torch would import its compiler: three CPU seconds."""
    with _Drawing() as drawing:
        network = build_network(PLAN, 3, architecture=architecture, deep_supervision=False)
        assert drawing.seen == (architecture == "dynunet")
        drawing.seen = False
        found = outline(_described(architecture, network), "here")
    assert not drawing.seen
    assert _tensors(found) == _tensors(network)


def _tensors(network: torch.nn.Module) -> dict[str, tuple[object, ...]]:
    state = network.state_dict(keep_vars=True)
    return {name: (one.shape, one.dtype, one.requires_grad) for name, one in state.items()}


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _file(header: object, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _with(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    """The file with a changed header."""

    def changed(content: bytes) -> bytes:
        header, data = _header(content)
        change(header)
        return _file(header, data)

    return changed


FIRST, SECOND = "convInit.conv.weight", "down_layers.0.1.norm1.weight"


def _all_at_zero(header: dict[str, Any]) -> None:
    for entry in header.values():
        start, stop = entry["data_offsets"]
        entry["data_offsets"] = [0, stop - start]


def _doubled(content: bytes) -> bytes:
    header, data = _header(content)
    text = json.dumps(header).encode()
    return _file(text[:-1] + b', "' + FIRST.encode() + b'": 1}', data)


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "longer than it can be"),
    "no header": (lambda content: content[:8], "longer than it can be"),
    "header of 2^60 bytes": (lambda content: struct.pack("<Q", 1 << 60) + content[8:], "longer than it can be"),
    "header of all the file": (lambda content: struct.pack("<Q", len(content) - 8) + content[8:], "not JSON"),
    "cut short": (lambda content: content[:-1], "longer or shorter"),
    "longer": (lambda content: content + b"\0", "longer or shorter"),
    "not JSON": (lambda content: _file(b"{", _header(content)[1]), "not JSON"),
    "nested deeply": (lambda content: _file(b"[" * 100_000, _header(content)[1]), "not JSON"),
    "a list": (lambda content: _file([], _header(content)[1]), "not a JSON object"),
    "a name twice": (_doubled, "not JSON"),
    "a tensor more": (_with(lambda header: header.update(more=header[FIRST])), "other tensors"),
    "a tensor less": (_with(lambda header: header.pop(FIRST)), "other tensors"),
    "metadata": (_with(lambda header: header.update(__metadata__={"a": "b"})), "other tensors"),
    "another type": (_with(lambda header: header[FIRST].update(dtype="F64")), "is not F32"),
    "an unknown type": (_with(lambda header: header[FIRST].update(dtype="F3")), "is not F32"),
    "a type that is a list": (_with(lambda header: header[FIRST].update(dtype=["F32"])), "is not F32"),
    "another shape": (_with(lambda header: header[FIRST].update(shape=[1 << 40])), "is not F32"),
    "a negative shape": (_with(lambda header: header[FIRST].update(shape=[-1])), "is not F32"),
    "overlapping tensors": (_with(_all_at_zero), "not where it should be"),
    "negative places": (_with(lambda header: header[FIRST].update(data_offsets=[-20, 0])), "not where it should"),
    "places beyond": (_with(lambda header: header[FIRST].update(data_offsets=[0, 1 << 60])), "not where it should"),
    "places that are texts": (_with(lambda header: header[FIRST].update(data_offsets=["0", "1"])), "header is wrong"),
    "one place": (_with(lambda header: header[FIRST].update(data_offsets=[0])), "header is wrong"),
    "an entry that is a number": (_with(lambda header: header.update({FIRST: 1})), "header is wrong"),
    "a key more": (_with(lambda header: header[FIRST].update(more=1)), "header is wrong"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_damaged_file_is_refused_by_name(name: str) -> None:
    """Before a tensor is made of it."""
    network = random_network()
    spoil, text = HOSTILE[name]
    with pytest.raises(DamagedError, match=text) as caught:
        load_network(description_of(network), spoil(weights_bytes(network)), "weights of capillary-x/1")
    assert caught.value.file == "weights of capillary-x/1"


def test_a_flipped_bit_is_another_network() -> None:
    """The form is right, so only a checksum can tell; the card has one."""
    network = random_network()
    content = bytearray(weights_bytes(network))
    content[-1] ^= 1
    assert weights_sha256(load_network(description_of(network), bytes(content), "here")) != weights_sha256(network)


def test_ties_that_the_network_has_not_are_refused() -> None:
    """A description cannot make one tensor of two, or leave a tie out."""
    network = random_network()
    tied = description_of(network).model_copy(update={"ties": {FIRST: (SECOND,)}})
    with pytest.raises(DamagedError, match="ties tensors"):
        load_network(tied, weights_bytes(network), "here")
    dynunet = build_network(PLAN, 1, architecture="dynunet", deep_supervision=False)
    untied = _described("dynunet", dynunet).model_copy(update={"ties": {}})
    with pytest.raises(DamagedError, match="ties tensors"):
        load_network(untied, weights_bytes(dynunet), "here")


WRONG: dict[str, tuple[str, Any]] = {
    "a newer format": ("format", 2),
    "two channels": ("channels_in", 2),
    "an unknown precision": ("precision", "fp8"),
    "a path as architecture": ("architecture", "../evil"),
    "an unknown key": ("more", 1),
    "no recipe": ("recipe", {}),
    "ties of numbers": ("ties", {"a": 1}),
    "too many packages": ("packages", {f"p{number}": "1" for number in range(99)}),
    "huge filters": ("plan", {"filters": [1 << 40] * 3}),
    "no filters": ("plan", {"filters": []}),
    "thousands of levels": ("plan", {"filters": [1] * 5000}),
    "filters of texts": ("plan", {"filters": ["1", "1", "1"]}),
    "levels that do not agree": ("plan", {"filters": [1, 1]}),
    "an even kernel": ("plan", {"kernels": [[2, 2, 2]] * 3}),
    "a huge kernel": ("plan", {"kernels": [[99, 99, 99]] * 3}),
    "a stride of 0": ("plan", {"strides": [[0, 0, 0]] * 3}),
    "a huge patch": ("plan", {"patch_voxels": [1 << 60, 1, 1]}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_description_of_anything_else_is_refused(name: str) -> None:
    """Bounded numbers, known names, no key more or less; the error names the key."""
    key, value = WRONG[name]
    data = json.loads(description_bytes(description_of(random_network())))
    data[key] = {**data["plan"], **value} if key == "plan" else value
    with pytest.raises(DamagedError, match=f"description of a model is wrong: {key}"):
        read_description(json.dumps(data).encode(), "description.json of capillary-x/1")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 50_000, b" " * (DESCRIPTION_BYTES + 1), b"null"])
def test_what_is_no_description_at_all_is_refused(content: bytes) -> None:
    """Nothing, half of it, another encoding, deep nesting, too much of it."""
    with pytest.raises(DamagedError, match="description of a model is wrong") as caught:
        read_description(content, "description.json of capillary-x/1")
    assert caught.value.file == "description.json of capillary-x/1"


def test_an_architecture_that_is_not_here_names_the_nearest() -> None:
    """A model of somebody's own architecture needs that architecture's file."""
    description = description_of(random_network()).model_copy(update={"architecture": "segresnett"})
    with pytest.raises(DataError, match="did you mean `segresnet`") as caught:
        outline(description, "here")
    assert "docs/adding-a-model.md" in caught.value.remedy
