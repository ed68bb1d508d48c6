from pathlib import Path

from stages.train.loop.history import EpochRecord, write_history


def _record(epoch: int, dsc: float | None, seconds: float = 1.0) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        loss=0.5,
        learning_rate=0.001,
        gradient_norm=1.25,
        nonfinite_steps=0,
        validation_dsc=dsc,
        seconds=seconds,
    )


def test_the_csv_has_one_row_an_epoch_and_an_empty_field_where_nothing_was_validated(tmp_path: Path) -> None:
    """The columns that dvc plots, without wall-clock time."""
    write_history(tmp_path / "fold_0.csv", [_record(1, None), _record(2, 0.75)])
    assert (tmp_path / "fold_0.csv").read_text().splitlines() == [
        "epoch,loss,learning_rate,gradient_norm,nonfinite_steps,validation_dsc",
        "1,0.5,0.001,1.25,0,",
        "2,0.5,0.001,1.25,0,0.75",
    ]


def test_equal_trainings_give_equal_bytes_however_long_they_took(tmp_path: Path) -> None:
    """dvc must not see a change where there is none."""
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        write_history(tmp_path / name, [_record(1, 0.5, seconds)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_points_leave_out_what_was_not_measured() -> None:
    """A curve has no point where there was no validation."""
    assert "validation_dsc" not in _record(1, None).points()
    assert _record(1, 0.5).points().keys() == {
        "loss", "learning_rate", "gradient_norm", "nonfinite_steps", "validation_dsc", "seconds",
    }  # fmt: skip
