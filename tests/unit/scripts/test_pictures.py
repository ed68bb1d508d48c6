"""The drawing in README.md is that of the pipeline as it is."""

from scripts.pictures import FOLDER, drawing
from tests.support.parts import REPOSITORY


def test_the_drawing_follows_dvc_yaml() -> None:
    """Else: python -m scripts.pictures drawing."""
    assert (FOLDER / "pipeline.svg").read_text() == drawing()
    assert "docs/pictures/pipeline.svg" in (REPOSITORY / "README.md").read_text()
