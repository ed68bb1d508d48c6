from pathlib import Path

import pytest

from capillary.experiments.run import _experiment_names, _free_name
from stages.common.errors import CapillaryError, ExitCode


def test_a_name_that_is_taken_gets_the_next_number() -> None:
    """Every run of an experiment file stays comparable with the others."""
    assert _free_name("vesselnn", set()) == "vesselnn"
    assert _free_name("vesselnn", {"vesselnn", "vesselnn-3"}) == "vesselnn-2"
    assert _free_name("vesselnn", {"vesselnn", "vesselnn-2"}) == "vesselnn-3"


def test_a_folder_without_git_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """DVC experiments are Git commits; a plain folder gives no traceback."""
    with pytest.raises(CapillaryError, match="cannot list the experiments") as caught:
        _experiment_names(tmp_path)
    assert caught.value.code == ExitCode.USAGE
    assert "Git" in caught.value.remedy
