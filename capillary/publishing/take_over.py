"""What a stage made gets folders of its own, through open folders: no name is resolved twice, no link is followed.

A process of the stage may still run, and swap a file for a link after it was checked, also through a folder that it
keeps open. So each file is moved (or copied) on its own into a folder that the stage never saw, and is checked there.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath

from stages.common.errors import UndeclaredError

MOST_DEPTH = 100  # folders in folders, each of which is held open
_KINDS = {stat.S_IFLNK: "link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK_BYTES = 1 << 20
_RUNS_AS_OWNER = stat.S_ISUID | stat.S_ISGID  # of a file; on a folder the second says whose new files are
_SWAPPED = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.ENXIO})  # what no-follow opens say of the rest


def foreign_kind(mode: int) -> str | None:
    """What a thing with `mode` is, if neither a plain file nor a folder."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return _KINDS.get(stat.S_IFMT(mode), "special file")


def take_over(work: Path, out: str, ready: Path, *, copies: bool = False) -> None:
    """Move the file or folder `out` of a stage's folder `work` to `ready`, which must not exist; or copy it.

    `work` and the folder of `ready` are trusted. Raises UndeclaredError for anything but plain files and folders, also
    for a folder on the way from `work` to `out` that is a link; and OSError. What was moved until then is at `ready`.
    """
    try:
        _take_over(work, out, ready, copies=copies)
    except OSError as error:  # the names of open folders' files say little
        raise OSError(error.errno, error.strerror, str(ready)) from error


def _take_over(work: Path, out: str, ready: Path, *, copies: bool) -> None:
    parts = PurePath(os.path.normpath(out)).parts
    with contextlib.ExitStack() as held:
        target = held.enter_context(_open(str(ready.parent), None, flags=os.O_RDONLY | os.O_DIRECTORY))
        folder = held.enter_context(_open(str(work), None, flags=os.O_RDONLY | os.O_DIRECTORY))
        for depth, part in enumerate(parts[:-1], 1):
            with _named(out, PurePath(*parts[:depth])):
                folder = held.enter_context(_open(part, folder))
        _Taking(out, copies=copies).take(folder, parts[-1], target, ready.name, PurePath())


@contextlib.contextmanager
def _open(name: str, folder: int | None, *, flags: int = _FOLDER, mode: int = 0o777) -> Iterator[int]:
    number = os.open(name, flags, mode, dir_fd=folder)
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def _named(out: str, path: PurePath) -> Iterator[None]:
    """An open that meets a link or the like says so by the name that the stage gave it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _SWAPPED:
            raise
        raise _refusal(out, path, "a link or another special file") from error


class _Taking:
    def __init__(self, out: str, *, copies: bool) -> None:
        self._out, self._copies = out, copies

    def take(self, folder: int, name: str, target: int, new: str, path: PurePath) -> None:
        """Take `name` of the open `folder` to `new` in the open folder `target`; it is at `path` in the out."""
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            self._take_folder(folder, name, target, new, path)
        else:
            self._take_file(folder, name, target, new, path)

    def _take_folder(self, folder: int, name: str, target: int, new: str, path: PurePath) -> None:
        if len(path.parts) > MOST_DEPTH:
            raise _refusal(self._out, path, f"folders in folders, more than {MOST_DEPTH} deep")
        os.mkdir(new, 0o700, dir_fd=target)
        with _named(self._out, path), _open(name, folder) as source, _open(new, target) as copy:
            mode = stat.S_IMODE(os.fstat(source).st_mode)
            if not self._copies and mode & 0o700 != 0o700:
                os.fchmod(source, mode | 0o700)  # else nothing can be moved out of it
            for inner in sorted(os.listdir(source)):  # noqa: PTH208 - of an open folder
                self.take(source, inner, copy, inner, path / inner)
            os.fchmod(copy, mode)
        if not self._copies:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=folder)

    def _take_file(self, folder: int, name: str, target: int, new: str, path: PurePath) -> None:
        # a file with another name may be somebody else's, who would see it change with the out
        shared = os.stat(name, dir_fd=folder, follow_symlinks=False).st_nlink > 1
        if self._copies or shared or not _moved(folder, name, target, new):
            self._copy(folder, name, target, new, path)
        mode = os.stat(new, dir_fd=target, follow_symlinks=False).st_mode
        self._refuse(mode, path)
        if mode & _RUNS_AS_OWNER:
            os.chmod(new, _plain(mode), dir_fd=target)

    def _copy(self, folder: int, name: str, target: int, new: str, path: PurePath) -> None:
        with _named(self._out, path), _open(name, folder, flags=_READ) as source:
            found = os.fstat(source)
            self._refuse(found.st_mode, path)
            with _open(new, target, flags=_WRITE, mode=0o600) as copy:
                _copy_data(source, copy, found.st_size)
                os.fchmod(copy, _plain(found.st_mode))
                os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _refuse(self, mode: int, path: PurePath) -> None:
        if not stat.S_ISREG(mode):
            raise _refusal(self._out, path, f"a {foreign_kind(mode) or 'folder that was a file'}")


def _moved(folder: int, name: str, target: int, new: str) -> bool:
    """Whether a rename reaches the target: it does not on another file system (also one mounted twice)."""
    try:
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _copy_data(source: int, copy: int, size: int) -> None:
    """Copy the open file `source` of `size` bytes. Holes stay holes: a file may claim more than the disk holds."""
    for start, end in _data_of(source, size):
        while start < end and (chunk := os.pread(source, min(_CHUNK_BYTES, end - start), start)):
            start += os.pwrite(copy, chunk, start)
    os.ftruncate(copy, size)


def _data_of(source: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each part between holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
            end = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # the file system knows of no holes
                yield end, size
            return
        yield start, end


def _plain(mode: int) -> int:
    """The permissions in `mode`, without those that make a program run as the user, whoever starts it."""
    return stat.S_IMODE(mode) & ~_RUNS_AS_OWNER


def _refusal(out: str, path: PurePath, what: str) -> UndeclaredError:
    return UndeclaredError(
        f"the out {out} {'holds' if path.parts else 'is'} {what}",
        file=path if path.parts else out,
        remedy="write plain files and folders only; if the stage did, another program changed them while they were "
        "taken over",
    )
