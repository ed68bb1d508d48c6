import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.errors import ParamsError
from stages.common.networks.kernel_rule import KernelRule
from stages.common.networks.plan import median_spacing_um, plan_network


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
    rule=st.sampled_from(KernelRule),
)
def test_no_level_has_one_or_two_voxels_along_an_axis_that_its_kernel_spans(
    spacing: tuple[float, float, float], depth: int, side: int, levels: int, rule: KernelRule
) -> None:
    """The kernel defect (depth 2 under 3×3×3) is unreachable, and every extent divides evenly."""
    try:
        plan = plan_network(
            spacing_um=spacing, patch_voxels=(depth, side, side), filters=(2,) * levels, kernel_rule=rule
        )
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


@pytest.mark.parametrize("rule", KernelRule)
@pytest.mark.parametrize("depth", [5, 12, 110])
def test_stacks_of_few_and_of_many_sections_have_a_plan(depth: int, rule: KernelRule) -> None:
    """Sections 5 µm apart of 0.5 µm pixels: the plane is halved at every level, and an odd depth never."""
    plan = plan_network(
        spacing_um=(5.0, 0.5, 0.5), patch_voxels=(depth, 64, 64), filters=(8, 16, 32, 64), kernel_rule=rule
    )
    assert [stride[1:] for stride in plan.strides] == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert [extent[0] for extent in plan.extents_voxels()] == [depth] * 4


def test_full_kernels_span_every_axis_of_three_voxels_and_change_no_stride() -> None:
    """The rule is about kernels only."""
    given = {"spacing_um": (5.0, 1.0, 1.0), "patch_voxels": (12, 96, 96), "filters": (16, 32, 64, 128)}
    auto, full = (plan_network(**given, kernel_rule=rule) for rule in KernelRule)  # type: ignore[arg-type]  # mixed values
    assert full.kernels == ((3, 3, 3),) * 4
    assert dataclasses.replace(full, kernels=auto.kernels) == auto


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
