"""An uploaded archive, unpacked: the files of its only stack, under a name of our own, never a link."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from serving.access.urls import full_disk
from serving.archives.choosing import PackedStack, choose_stack
from serving.failures import Refusal
from serving.uploads import SizeLimit
from stages.common.errors import CapillaryError, ExitCode
from stages.common.imaging.suffixes import suffix_of
from stages.ingest.sources.archives.archive import ARCHIVE_SUFFIXES, open_archive
from stages.ingest.sources.archives.limits import LargeArchiveError

# names that this disk does not take: too long, one twice where case does not count, a file where a folder is
_NAME_ERRNOS = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ, errno.EINVAL)


def archive_suffix_of(name: str) -> str | None:
    """The suffix by which a file called `name` is an archive; None if it is not one."""
    return next((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), None)


def unpack(archive: Path, shown: str, limit: SizeLimit) -> str:
    """Put the stack in `archive` next to it and remove the archive; returns the stack's path from there.

    `archive` has one of ARCHIVE_SUFFIXES, `shown` is its name for messages. The path has no name of the archive in it.
    Raises Refusal for one that cannot be unpacked, takes more than `limit` then, or does not hold one stack.
    """
    scratch, target = archive.with_name("unpacking"), archive.with_name("stack")
    scratch.mkdir()
    target.mkdir()
    with _refusing(shown, limit):
        opened = open_archive(archive, scratch, shown=shown, most_bytes=limit.most_bytes)
        stack = choose_stack(opened.below(""))
        if not any(opened.listing.find(part).size for part in stack.parts):
            raise Refusal(422, "the stack in the archive is empty", "pack files with content")
        opened.expect(stack.parts)
        for part in stack.parts:
            file = target / _own_name(part, stack)
            file.parent.mkdir(parents=True, exist_ok=True)
            opened.fetch(part, file)
    archive.unlink()
    shutil.rmtree(scratch)
    return target.name if stack.is_folder else f"{target.name}/{_own_name(stack.path, stack)}"


def _own_name(part: str, stack: PackedStack) -> str:
    """The path of `part` in the folder of the stack; the file that is the stack has a name of our own."""
    if part == stack.path:
        return f"the_stack{suffix_of(part)}"
    return part[len(stack.folder) :].lstrip("/")


@contextlib.contextmanager
def _refusing(shown: str, limit: SizeLimit) -> Iterator[None]:
    """Turn what ingest's readers raise into an answer."""
    try:
        yield
    except LargeArchiveError as error:
        raise Refusal(413, error.what, limit.remedy) from None
    except CapillaryError as error:
        if error.code == ExitCode.MACHINE:
            raise full_disk() from None
        file = str(error.file or shown)
        raise Refusal(422, error.what if shown in error.what else f"{file}: {error.what}", error.remedy) from None
    except OSError as error:
        if error.errno not in _NAME_ERRNOS:
            raise
        what = f"the archive {shown} holds a name that cannot be used here: {error.strerror}"
        raise Refusal(422, what, "pack the stack under short names that differ in more than case") from None
