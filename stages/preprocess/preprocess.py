"""The stage: every valid stack into arrays, and all of them into folds."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean

from stages.common.held_out import (
    Candidate,
    HeldOutGroups,
    draw_groups,
    ids_of,
    listed_groups,
    refuse_share_of_given_folds,
    refuse_too_few_left,
)
from stages.common.imaging.recipe import write_recipe
from stages.common.imaging.volumes import (
    ALWAYS_TRAINING,
    HELD_OUT,
    Grid,
    Volume,
    write_manifest,
)
from stages.common.program.messages import get_logger
from stages.common.program.progress import progress
from stages.common.splits import Fold, check_enough, read_splits_file, write_splits
from stages.common.text import counted, percent
from stages.preprocess.folds import Member, draw_folds, groups_astride
from stages.preprocess.params import Preprocess
from stages.preprocess.pool import prepared_volumes
from stages.preprocess.prepare import Prepared, Task
from stages.preprocess.raw import RawVolume, read_raw
from stages.preprocess.resample import target_grid

log = get_logger(__name__)


def preprocess(params: Preprocess, *, workers: int, raw: Path, processed: Path) -> None:
    """Write `processed` (arrays, manifest, splits) from `raw`. Whatever can be refused is refused before the work."""
    every = read_raw(raw)
    volumes = every[: params.max_volumes]
    listed = ids_of(listed_groups(params.test_groups.names, every), volumes)
    given = _given_folds(params, volumes, listed)
    tasks = [_plan(volume, params, processed) for volume in volumes]
    done = _prepare(tasks, workers)
    held_out = listed | _drawn(params.test_groups, done)
    members = [_member(prepared) for prepared in done if prepared.task.raw.id not in held_out]
    folds = given or draw_folds(members, params.num_folds, params.seed)
    write_manifest(processed, ((_volume(prepared, folds, held_out), prepared.checksums) for prepared in done))
    write_splits(processed, folds)
    write_recipe(processed, params.recipe())
    for index, fold in enumerate(folds):
        log.info(
            f"fold {index}: {counted(len(fold.train), 'volume')} to train on, {len(fold.val)} to validate on "
            f"({', '.join(fold.val)})"
        )
    if held_out:
        log.info(f"held out: {counted(len(held_out), 'volume')} that no fold sees ({', '.join(sorted(held_out))})")


def _given_folds(params: Preprocess, volumes: Sequence[RawVolume], listed: Collection[str]) -> tuple[Fold, ...] | None:
    """The folds of a splits file; None if they are to be drawn, which is possible then."""
    asked, seen = params.test_groups, [volume for volume in volumes if volume.id not in listed]
    refuse_too_few_left(asked, volumes, listed, least=1)
    folds = read_splits_file(Path(params.splits_file), [volume.id for volume in seen], params.num_folds, listed)
    if folds is None:
        check_enough(len(volumes), len({volume.group for volume in volumes}), params.num_folds)
        refuse_too_few_left(asked, volumes, listed, least=params.num_folds)
        return None
    refuse_share_of_given_folds(asked, params.splits_file)
    for warning in groups_astride(folds, {volume.id: volume.group for volume in seen}):
        log.warning(warning)
    return folds


def _drawn(asked: HeldOutGroups, done: Sequence[Prepared]) -> frozenset[str]:
    """The ids of a share of the groups, which is drawn once their foreground is known."""
    if asked.share is None:
        return frozenset()
    groups: dict[str, list[Prepared]] = defaultdict(list)
    for prepared in done:
        groups[prepared.task.raw.group].append(prepared)
    candidates = [
        Candidate(
            name=name,
            content=min(prepared.task.raw.content for prepared in each),
            foreground_share=fmean(prepared.foreground_share for prepared in each),
        )
        for name, each in groups.items()
    ]
    return ids_of(draw_groups(candidates, asked.share, asked.seed), [prepared.task.raw for prepared in done])


def _plan(volume: RawVolume, params: Preprocess, processed: Path) -> Task:
    shape_zyx, spacing_um = target_grid(volume, params.resample_to_um)
    return Task(raw=volume, shape_zyx=shape_zyx, spacing_um=spacing_um, folder=processed / volume.id, params=params)


def _prepare(tasks: Sequence[Task], workers: int) -> list[Prepared]:
    """All tasks done, in the order of `tasks`, with a line for each."""
    done: dict[str, Prepared] = {}
    # the workers are forked before the display starts its thread
    with prepared_volumes(tasks, workers) as results, progress("preprocess", len(tasks)) as steps:
        for prepared in results:
            name = prepared.task.raw.id
            shape = "×".join(map(str, prepared.task.shape_zyx))
            steps.advance(f"{name} {shape}, {percent(prepared.foreground_share)} foreground{_how_much(prepared)}")
            if prepared.lost_parts:
                log.warning(_what_is_lost(prepared))
            done[name] = prepared
    return [done[task.raw.id] for task in tasks]


def _how_much(prepared: Prepared) -> str:
    return "" if prepared.labelled_share == 1 else f" in the {percent(prepared.labelled_share)} that are labelled"


def _what_is_lost(prepared: Prepared) -> str:
    asked = list(prepared.task.params.resample_to_um or ())
    return (
        f"{prepared.task.raw.id}: resampling to {asked} µm leaves nothing of {prepared.lost_parts} of the label's"
        f" {prepared.parts} connected parts; they are not trained on, and count as missed when measured"
    )


def _member(prepared: Prepared) -> Member:
    raw = prepared.task.raw
    return Member(id=raw.id, group=raw.group, foreground_share=prepared.foreground_share, content=raw.content)


def _volume(prepared: Prepared, folds: Sequence[Fold], held_out: Collection[str] = ()) -> Volume:
    task = prepared.task
    otherwise = HELD_OUT if task.raw.id in held_out else ALWAYS_TRAINING
    return Volume(
        id=task.raw.id,
        group=task.raw.group,
        shape_zyx=task.shape_zyx,
        spacing_um=task.spacing_um,
        foreground_share=prepared.foreground_share,
        labelled_share=prepared.labelled_share,
        fold=next((index for index, fold in enumerate(folds) if task.raw.id in fold.val), otherwise),
        folder=task.folder,
        native=Grid(shape_zyx=task.raw.shape_zyx, spacing_um=task.raw.spacing_um) if task.is_resampled else None,
    )
