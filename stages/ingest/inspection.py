"""One candidate after the other: copied, checked, judged. At most one stack is in memory at a time."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from stages.common.errors import DataError
from stages.common.imaging.formats.channels import Channel, SeveralChannelsError
from stages.common.imaging.formats.geometry import Geometry
from stages.common.imaging.formats.header import StackHeader
from stages.common.imaging.formats.nifti.stack import open_nifti
from stages.common.imaging.labels.rule import BINARY, LabelMeaning, Number
from stages.common.imaging.reading import read_header
from stages.common.imaging.spacing import disagreement, doubt_of_given, spacing_of
from stages.common.imaging.stacks import is_tiff, refusing_damage
from stages.common.imaging.zyx import Spacing
from stages.ingest.arrival import CONVERTED, RawCopy, fetch_stack
from stages.ingest.candidates import Candidate
from stages.ingest.checks import ImageFacts, LabelFacts, check_image, check_label
from stages.ingest.given_spacing import TABLE, complete, missing_cells
from stages.ingest.labels.doubts import doubt_of_order, doubts_about
from stages.ingest.labels.grid import HABIT, AxisOrder, Rule, compare, must_rewrite, write_in_order
from stages.ingest.labels.named import Named
from stages.ingest.labels.values import asked_values
from stages.ingest.sources.source import Source
from stages.ingest.verdicts import Stack, Verdict, VolumeFacts

Kind = Literal["image", "label"]
_AXES = {"C": "channels", "S": "colour planes"}


@dataclass(kw_only=True)
class Inspection:
    """The inspection of one source into `raw`. It remembers what it has seen, to find copies."""

    source: Source
    raw: Path
    label_geometry: Rule
    meaning: LabelMeaning = BINARY
    named: Named = field(default_factory=dict)  # what the set itself calls the values in its labels
    channel: Channel = None  # of images
    level_um: Spacing | None = None  # of pyramids
    notes: dict[str, int] = field(default_factory=dict)  # what holds for several volumes → for how many
    _images: dict[str, str] = field(default_factory=dict)  # sha256 → id of the volume that had it first
    _labels: dict[str, str] = field(default_factory=dict)
    _voxels: dict[str, str] = field(default_factory=dict)  # key of an image's sample → the volume that had it first
    _values: set[Number] = field(default_factory=set)  # that the settings name and a label holds
    _sha256: dict[str, str] = field(default_factory=dict)  # of files in the source that several rows may name

    def inspect(self, candidate: Candidate) -> Verdict:
        """Copy `candidate` to `raw` and judge it; what is invalid does not stay there.

        Raises ServiceError when a server fails: that is not the volume's fault.
        """
        if candidate.reasons:
            told = {"reasons": candidate.reasons, "warnings": candidate.warnings}
            return Verdict(id=candidate.id, stack=None, facts=VolumeFacts(), **told)
        (self.raw / candidate.id).mkdir()
        verdict = _Case(inspection=self, candidate=candidate, warnings=list(candidate.warnings)).judge()
        if verdict.stack is None:
            shutil.rmtree(self.raw / candidate.id)
        return verdict

    def note(self, text: str) -> None:
        """Count one more volume for which `text` holds; it is said once, after all of them."""
        self.notes[text] = self.notes.get(text, 0) + 1

    def saw(self, values: Iterable[Number]) -> None:
        """Remember that a label holds these of the values that the settings name."""
        self._values.update(values)

    def absent_values(self) -> list[Number]:
        """The values that the settings name and no label holds."""
        return [value for value in asked_values(self.meaning) if value not in self._values]

    def checksum(self, path: str, file: Path) -> str:
        """Of `file`, the copy of the source's `path`: taken once, however many rows name it."""
        if path not in self._sha256:
            self._sha256[path] = sha256_of(file)
        return self._sha256[path]

    def copy_of(self, kind: Kind, sha256: str, volume: str) -> str | None:
        """The volume that had a file of this content before, None for the first."""
        first = self._seen(kind).setdefault(sha256, volume)
        return None if first == volume else first

    def same_voxels(self, key: str, volume: str) -> str | None:
        """The volume that had an image of these voxels before, in whatever file; None for the first."""
        first = self._voxels.setdefault(key, volume)
        return None if first == volume else first

    def other_use(self, kind: Kind, sha256: str, volume: str) -> str | None:
        """The volume that had a file of this content before as the other of image and label, None without one."""
        first = self._seen("label" if kind == "image" else "image").get(sha256)
        return None if first == volume else first

    def _seen(self, kind: Kind) -> dict[str, str]:
        return self._images if kind == "image" else self._labels


@dataclass(kw_only=True)
class _Case:
    """The judgement of one candidate in the making."""

    inspection: Inspection
    candidate: Candidate
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_rewritten: bool = False  # the label is not a copy of the source's
    arrived: dict[Kind, RawCopy] = field(default_factory=dict)

    def judge(self) -> Verdict:
        image = self._fetch("image")
        image_facts = self._image_facts(image)
        self.warnings += image_facts.warnings if image_facts else ()
        label = self._fetch("label")
        if image and image_facts and label:
            self._align(label, image)
        # an image that is given as its own label is refused for that, not for its grey values
        label_facts = None if self._path("label") == self._path("image") else self._label_facts(label, image_facts)
        spacing_um, source = self._spacing() if image and image_facts else (None, None)
        checksums = self._checksums(image, label)
        self._check_voxels(image_facts)
        facts = VolumeFacts(
            shape_zyx=image_facts.shape_zyx if image_facts else None,
            spacing_um=spacing_um,
            spacing_source=source,
            foreground_share=label_facts.foreground_share if label_facts else None,
            labelled_share=label_facts.labelled_share if label_facts else None,
        )
        stack = None
        if not self.reasons and image and label and image_facts and label_facts and spacing_um:
            stack = self._stack((image, label), checksums, (image_facts, label_facts), spacing_um)
        reasons, warnings = tuple(self.reasons), tuple(self.warnings)
        return Verdict(id=self.candidate.id, stack=stack, facts=facts, reasons=reasons, warnings=warnings)

    def _stack(
        self,
        files: tuple[Path, Path],
        checksums: tuple[str, str],
        facts: tuple[ImageFacts, LabelFacts],
        spacing_um: Spacing,
    ) -> Stack:
        """What landed in data/raw, image first and label second in each pair."""
        image, label = (file.relative_to(self.inspection.raw).as_posix() for file in files)
        return Stack(
            id=self.candidate.id,
            group=self.candidate.group,
            image=image,
            label=label,
            image_sha256=checksums[0],
            label_sha256=checksums[1],
            spacing_um=spacing_um,
            image_facts=replace(facts[0], sample=None),  # those of all volumes would take too much memory
            label_facts=facts[1],
        )

    def _path(self, kind: Kind) -> str:
        return self.candidate.image if kind == "image" else self.candidate.label

    def _blame(self, kind: Kind, error: DataError) -> None:
        what = error.of_label if kind == "label" and isinstance(error, SeveralChannelsError) else error.what
        self.reasons.append(f"{kind} {self._path(kind)}: {what}")

    def _fetch(self, kind: Kind) -> Path | None:
        stem = self.inspection.raw / self.candidate.id / kind
        scratch = stem.with_name(f".{kind}")
        channel = self.inspection.channel if kind == "image" else None
        try:
            level_um = self.inspection.level_um
            arrived = fetch_stack(self.inspection.source, self._path(kind), stem, scratch, channel, level_um)
        except DataError as error:
            self._blame(kind, error)
            if self.candidate.origin:
                self.reasons[-1] += f" ({self.candidate.origin})"
            return None
        if arrived.is_converted:
            self.inspection.note(CONVERTED)
        self.arrived[kind] = arrived
        return arrived.file

    def _header(self, kind: Kind) -> StackHeader:
        """Of the source's file."""
        arrived = self.arrived[kind]
        return arrived.header or read_header(arrived.file)

    def _geometry(self, kind: Kind) -> Geometry:
        """Of the NIfTI in data/raw."""
        arrived = self.arrived[kind]
        return arrived.geometry or open_nifti(arrived.file).geometry

    def _image_facts(self, image: Path | None) -> ImageFacts | None:
        try:
            return None if image is None else check_image(image)
        except DataError as error:
            self._blame("image", error)
            return None

    def _align(self, label: Path, image: Path) -> None:
        """Bring `label` into the order of `image`, or say why it does not lie on it."""
        # what is wrong with the file itself, the check of its voxels says
        with contextlib.suppress(DataError), refusing_damage(label):
            if is_tiff(label) or is_tiff(image):  # which does not say where it is
                self._doubt(label)
            else:
                self._compare(label, image)

    def _doubt(self, label: Path) -> None:
        if self.inspection.label_geometry == "world":
            geometry = None if is_tiff(label) else self._geometry("label")
            self.warnings += doubts_about(self._header("label"), self._header("image"), geometry)
            if geometry is not None:
                is_placed = not is_tiff(self.arrived["image"].file)
                self._note(doubt_of_order(geometry, self._geometry("image") if is_placed else None))

    def _compare(self, label: Path, image: Path) -> None:
        image_geometry, label_geometry = self._geometry("image"), self._geometry("label")
        if image_geometry.affine is None or label_geometry.is_default:
            self._doubt(label)
        agreement = compare(image_geometry, label_geometry, self.inspection.label_geometry)
        if agreement.reason:
            self.reasons.append(f"label {self._path('label')}: {agreement.reason}")
        elif must_rewrite(image_geometry, label_geometry, agreement.order):
            write_in_order(label, image, agreement.order)
            self.is_rewritten = True
            self._note(_reordering(agreement.order, image_geometry))
        if agreement.is_habit:
            self.inspection.note(HABIT)

    def _label_facts(self, label: Path | None, image: ImageFacts | None) -> LabelFacts | None:
        meaning, named = self.inspection.meaning, self.inspection.named
        shape_zyx, sample = (image.shape_zyx, image.sample) if image else (None, None)
        try:
            facts = None if label is None else check_label(label, shape_zyx, meaning, named, sample)
        except DataError as error:
            self._blame("label", error)
            return None
        if label and self._header("label").is_inverted:
            self._note("the label stores white as 0 (WhiteIsZero); its values are inverted on reading")
        if facts:
            self.warnings += facts.warnings
            self.inspection.saw(facts.occurring)
        return facts

    def _spacing(self) -> tuple[Spacing | None, str | None]:
        """The spacing (z, y, x; µm) and where it is from; a reason if there is none."""
        header = self._header("image")
        told = spacing_of(header)
        for remark in (_axis_warning(header), *header.remarks):
            self._note(remark)
        given, source = complete(self.candidate.spacing_um, told)
        if given is not None:
            self._note(disagreement(given, header))
            self._note(doubt_of_given(given, told.spacing_um))
            self.warnings += () if told.spacing_um and source == TABLE else told.warnings
            return given, source
        if told.spacing_um is None:
            self.reasons.append(f"image {self._path('image')}: {told.reason}{missing_cells(self.candidate)}")
        else:
            self.warnings += told.warnings
        return told.spacing_um, told.source or None

    def _checksums(self, image: Path | None, label: Path | None) -> tuple[str, str]:
        image_sha256 = self._checksum("image", image) if image else ""
        label_sha256 = self._checksum("label", label) if label else ""
        if image and (other := self.inspection.copy_of("image", image_sha256, self.candidate.id)):
            self.reasons.append(f"image {self._path('image')}: it has the same content as {other}'s")
        if label and (other := self.inspection.copy_of("label", label_sha256, self.candidate.id)):
            self._note(f"its label has the same content as {other}'s")
        if image and image_sha256 == label_sha256:
            self.reasons.append("image and label are the same file")
        self._check_role("image", image_sha256, "label")
        self._check_role("label", label_sha256, "image")
        return image_sha256, label_sha256

    def _check_voxels(self, image: ImageFacts | None) -> None:
        """An image that was saved again, as in another format, is not another animal's."""
        sample = image.sample if image else None
        other = self.inspection.same_voxels(sample.key, self.candidate.id) if sample else None
        reason = f"image {self._path('image')}: it has the same content as {other}'s"
        if other and reason not in self.reasons:
            self.reasons.append(f"image {self._path('image')}: its voxels are those of {other}'s, saved again")

    def _check_role(self, kind: Kind, sha256: str, former: Kind) -> None:
        """A file that is the `former` of another volume is not the `kind` of this one."""
        if sha256 and (other := self.inspection.other_use(kind, sha256, self.candidate.id)):
            self.reasons.append(f"{kind} {self._path(kind)}: it has the same content as {other}'s {former}")

    def _checksum(self, kind: Kind, file: Path) -> str:
        is_new = self.arrived[kind].is_converted or (kind == "label" and self.is_rewritten)
        return sha256_of(file) if is_new else self.inspection.checksum(self._path(kind), file)

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


def _reordering(order: AxisOrder, image: Geometry) -> str:
    if order.is_same:
        return "the label's header does not say where its axes are; its array is read in the order of the image's"
    done = order.text(image)
    return f"the label is stored in another order than the image; it was brought into the image's ({done})"
