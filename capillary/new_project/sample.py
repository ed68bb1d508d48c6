"""The files that a new project starts from: those of samples/iris that sample.txt lists.

In a checkout they are in samples/iris. A wheel has a copy of them next to this module (setup.py).
"""

from pathlib import Path

from stages.common.errors import UsageError

_HERE = Path(__file__).parent
LIST = _HERE / "sample.txt"
README = _HERE / "README.md.template"
PLACES = (_HERE / "sample", _HERE.parents[1] / "samples" / "iris")
SAMPLE_NAME = "iris"
# file → a line of the sample that holds its name
NAMED = {"params.yaml": f"model_name: {SAMPLE_NAME} "}


def read_sample(places: tuple[Path, ...] = PLACES) -> dict[str, bytes]:
    """Relative path → content. Raises CapillaryError (usage) where this installation came without the sample."""
    folder = next((place for place in places if (place / "dvc.yaml").is_file()), None)
    if folder is None:
        raise UsageError(
            "this installation of capillary lacks the files of a new project",
            remedy="install capillary from a wheel or run it in a checkout: the dvc-runner's image has no sample",
        )
    return {name: (folder / name).read_bytes() for name in LIST.read_text().split()}


def project_files(name: str, sample: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the new project `name`: those of the sample with the name put in, and a README."""
    files = dict(sample)
    for file, line in NAMED.items():
        text = files[file].decode()
        assert text.count(line) == 1
        files[file] = text.replace(line, line.replace(SAMPLE_NAME, name)).encode()
    return {**files, "README.md": README.read_text().replace("{name}", name).encode()}
