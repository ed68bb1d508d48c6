"""The image of a stage as a file of Apptainer, made once from the one that Docker or Podman builds."""

from pathlib import Path

from stages.common.errors import MachineError


def image_file(folder: Path, tag: str) -> Path:
    """`capillary-train-4f0c….sif` for `capillary-train:4f0c…`."""
    return folder / f"{tag.replace(':', '-')}.sif"


def require_image(folder: Path, tag: str, stage: str) -> Path:
    """The file of the image `tag`; CapillaryError with the commands that make it when it is missing."""
    file = image_file(folder, tag)
    if file.is_file():
        return file
    raise MachineError(
        f"there is no Apptainer image file for {stage}",
        file=file,
        remedy=f"where Docker runs: ./just build {stage}, then docker save {tag} --output image.tar; where Apptainer "
        f"runs: apptainer build '{file}' docker-archive:image.tar",
    )
