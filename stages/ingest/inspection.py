"""One candidate after the other: copied, checked, judged. At most one stack is in memory at a time."""

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stages.common.errors import DataError
from stages.common.imaging.spacing import Spacing, disagreement, spacing_from
from stages.common.imaging.stacks import StackHeader, read_header
from stages.common.imaging.suffixes import suffix_of
from stages.ingest.candidates import Candidate
from stages.ingest.checks import ImageFacts, LabelFacts, check_image, check_label
from stages.ingest.sources.source import Source
from stages.ingest.verdicts import Stack, Verdict

Kind = Literal["image", "label"]
_AXES = {"C": "channels", "S": "colour planes", "T": "time points"}


@dataclass(kw_only=True)
class Inspection:
    """The inspection of one source into `raw`. It remembers what it has seen, to find copies."""

    source: Source
    raw: Path
    _images: dict[str, str] = field(default_factory=dict)  # sha256 → id of the volume that had it first
    _labels: dict[str, str] = field(default_factory=dict)

    def inspect(self, candidate: Candidate) -> Verdict:
        """Copy `candidate` to `raw` and judge it; what is invalid does not stay there.

        Raises ServiceError when a server fails: that is not the volume's fault.
        """
        if candidate.reasons:
            return Verdict(id=candidate.id, stack=None, reasons=candidate.reasons, warnings=())
        (self.raw / candidate.id).mkdir()
        verdict = _Case(inspection=self, candidate=candidate).judge()
        if verdict.stack is None:
            shutil.rmtree(self.raw / candidate.id)
        return verdict

    def copy_of(self, kind: Kind, sha256: str, volume: str) -> str | None:
        """The volume that had a file of this content before, None for the first."""
        first = (self._images if kind == "image" else self._labels).setdefault(sha256, volume)
        return None if first == volume else first


@dataclass(kw_only=True)
class _Case:
    """The judgement of one candidate in the making."""

    inspection: Inspection
    candidate: Candidate
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def judge(self) -> Verdict:
        image = self._fetch("image")
        image_facts = self._image_facts(image)
        label = self._fetch("label")
        label_facts = self._label_facts(label, image_facts)
        spacing_um = self._spacing_um(image) if image and image_facts else None
        image_sha256, label_sha256 = self._checksums(image, label)
        stack = None
        if not self.reasons and image and label and image_facts and label_facts and spacing_um:
            stack = Stack(
                id=self.candidate.id,
                group=self.candidate.group,
                image=image.relative_to(self.inspection.raw).as_posix(),
                label=label.relative_to(self.inspection.raw).as_posix(),
                image_sha256=image_sha256,
                label_sha256=label_sha256,
                spacing_um=spacing_um,
                image_facts=image_facts,
                label_facts=label_facts,
            )
        return Verdict(id=self.candidate.id, stack=stack, reasons=tuple(self.reasons), warnings=tuple(self.warnings))

    def _path(self, kind: Kind) -> str:
        return self.candidate.image if kind == "image" else self.candidate.label

    def _blame(self, kind: Kind, error: DataError) -> None:
        self.reasons.append(f"{kind} {self._path(kind)}: {error.what}")

    def _fetch(self, kind: Kind) -> Path | None:
        path = self._path(kind)
        target = self.inspection.raw / self.candidate.id / f"{kind}{suffix_of(path)}"
        try:
            self.inspection.source.fetch(path, target)
        except DataError as error:
            self._blame(kind, error)
            return None
        return target

    def _image_facts(self, image: Path | None) -> ImageFacts | None:
        try:
            return None if image is None else check_image(image)
        except DataError as error:
            self._blame("image", error)
            return None

    def _label_facts(self, label: Path | None, image: ImageFacts | None) -> LabelFacts | None:
        try:
            facts = None if label is None else check_label(label, image.shape_zyx if image else None)
        except DataError as error:
            self._blame("label", error)
            return None
        self.warnings += facts.warnings if facts else ()
        return facts

    def _spacing_um(self, image: Path) -> Spacing | None:
        header = read_header(image)
        self._note(_axis_warning(header))
        if self.candidate.spacing_um is not None:
            self._note(disagreement(self.candidate.spacing_um, header))
            return self.candidate.spacing_um
        spacing_um, remark = spacing_from(header)
        if spacing_um is None:
            self.reasons.append(f"image {self._path('image')}: {remark}")
        else:
            self._note(remark)
        return spacing_um

    def _checksums(self, image: Path | None, label: Path | None) -> tuple[str, str]:
        image_sha256, label_sha256 = (sha256_of(file) if file else "" for file in (image, label))
        if image and (other := self.inspection.copy_of("image", image_sha256, self.candidate.id)):
            self.reasons.append(f"image {self._path('image')}: it has the same content as {other}'s")
        if label and (other := self.inspection.copy_of("label", label_sha256, self.candidate.id)):
            self._note(f"its label has the same content as {other}'s")
        if image and image_sha256 == label_sha256:
            self.reasons.append("image and label are the same file")
        return image_sha256, label_sha256

    def _note(self, warning: str) -> None:
        if warning:
            self.warnings.append(warning)


def sha256_of(file: Path) -> str:
    """Hexadecimal checksum of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _axis_warning(header: StackHeader) -> str:
    name = _AXES.get(header.axes[0])
    return f"the file calls its slices {name}; they are taken as z" if name else ""
