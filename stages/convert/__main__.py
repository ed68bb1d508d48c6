"""python -m stages.convert: every version in fetched/ → converted/."""

from pathlib import Path

from stages.common.requests.conversion import CONVERTED, FETCHED
from stages.common.stage_main import run_stage
from stages.convert.convert import convert_all


def main() -> None:
    """Convert what the launcher fetched."""
    convert_all(Path(FETCHED), Path(CONVERTED))


if __name__ == "__main__":
    run_stage(main)
