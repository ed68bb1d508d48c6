import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.errors import ParamsError
from stages.train.networks.catalogue import build_network
from stages.train.networks.plan import median_spacing_um, plan_network


def test_coarse_sections_are_neither_spanned_nor_halved_until_the_plane_is_as_coarse() -> None:
    """5 µm sections of 1 µm pixels: the plane alone is convolved and halved until its voxels measure 4 µm."""
    plan = plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(12, 96, 96), filters=(16, 32, 64, 128))
    assert plan.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert plan.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert plan.extents_voxels() == [(12, 96, 96), (12, 48, 48), (12, 24, 24), (6, 12, 12)]


def test_cubic_voxels_are_halved_alike_while_three_sections_remain() -> None:
    """A depth of 12 is halved twice, to 3, and then stays."""
    plan = plan_network(spacing_um=(1.0, 1.0, 1.0), patch_voxels=(12, 96, 96), filters=(16, 32, 64, 128))
    assert plan.extents_voxels() == [(12, 96, 96), (6, 48, 48), (3, 24, 24), (3, 12, 12)]
    assert set(plan.kernels) == {(3, 3, 3)}


@given(
    spacing=st.tuples(*[st.floats(0.1, 20)] * 3),
    depth=st.integers(1, 64),
    side=st.sampled_from([24, 32, 48, 64, 96, 128]),
    levels=st.integers(3, 5),
)
def test_no_level_has_one_or_two_voxels_along_an_axis_that_its_kernel_spans(
    spacing: tuple[float, float, float], depth: int, side: int, levels: int
) -> None:
    """The kernel defect (depth 2 under 3×3×3) is unreachable, and every extent divides evenly."""
    try:
        plan = plan_network(spacing_um=spacing, patch_voxels=(depth, side, side), filters=(2,) * levels)
    except ParamsError:
        return
    extent = plan.patch_voxels
    for stride, kernel, after in zip(plan.strides, plan.kernels, plan.extents_voxels(), strict=True):
        assert all(size % step == 0 for size, step in zip(extent, stride, strict=True))
        assert all(size >= 3 for size, width in zip(after, kernel, strict=True) if width == 3)
        assert all(width == 3 for step, width in zip(stride, kernel, strict=True) if step == 2)
        extent = after


def test_more_filters_than_the_patch_can_be_halved_are_refused_with_sizes_that_work() -> None:
    """The remedy's numbers are right: following it makes a plan."""
    with pytest.raises(ParamsError) as refusal:
        plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(3, 20, 20), filters=(2, 2, 2, 2, 2))
    assert "can be halved 2 times" in refusal.value.what
    assert "multiples of 16 and at least 48" in refusal.value.remedy
    plan_network(spacing_um=(5.0, 1.0, 1.0), patch_voxels=(8, 48, 48), filters=(2, 2, 2, 2, 2))


@settings(deadline=None, max_examples=5)
@given(depth=st.sampled_from([1, 2, 3, 6, 8]), coarse=st.sampled_from([1.0, 3.0, 8.0]))
def test_the_built_network_maps_a_patch_to_two_channels_of_its_size(depth: int, coarse: float) -> None:
    """What is planned can be built, for thin and thick patches."""
    plan = plan_network(spacing_um=(coarse, 1.0, 1.0), patch_voxels=(depth, 16, 24), filters=(2, 4, 4))
    logits = build_network(plan, 0, architecture="dynunet", deep_supervision=False)(torch.rand(1, 1, depth, 16, 24))
    assert logits.shape == (1, 2, depth, 16, 24)


def test_weights_follow_from_the_seed_and_leave_the_random_state_alone() -> None:
    """One seed, one network; torch's own draws are the same before and after."""
    plan = plan_network(spacing_um=(1.0, 1.0, 1.0), patch_voxels=(8, 16, 16), filters=(2, 4, 4))
    before = torch.get_rng_state()
    first, again, other = (
        build_network(plan, seed, architecture="dynunet", deep_supervision=False).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_plan_is_a_frozen_value_that_describes_itself() -> None:
    """A plan can be compared, logged and not changed."""
    plan = plan_network(spacing_um=(1.0, 1.0, 1.0), patch_voxels=(8, 16, 16), filters=(2, 4, 4))
    assert plan == dataclasses.replace(plan)
    assert plan.describe().startswith("8×16×16 kernel 3×3×3 × 2 | 4×8×8")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.filters = (1,)  # type: ignore[misc]  # the promise under test


def test_spacing_is_the_median_along_each_axis() -> None:
    """One odd stack does not change the network of all."""
    assert median_spacing_um([(5.0, 1.0, 1.0), (5.0, 0.6, 0.6), (9.0, 2.5, 1.0)]) == (5.0, 1.0, 1.0)
