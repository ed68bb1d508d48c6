"""Arrays on the disk."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import ExitCode, find_foreseen
from stages.preprocess.arrays import save_array


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_the_file_is_the_one_that_numpy_writes(tmp_path: Path, dtype: str) -> None:
    """Byte for byte what np.save gives, for arrays in any memory order, with the checksum that sha256sum prints."""
    array = np.random.default_rng(0).integers(0, 9, (7, 5, 3)).astype(dtype).transpose(2, 1, 0)
    checksum = save_array(tmp_path / "own.npy", array)
    np.save(tmp_path / "numpy.npy", np.ascontiguousarray(array))
    content = (tmp_path / "own.npy").read_bytes()
    assert content == (tmp_path / "numpy.npy").read_bytes()
    assert checksum == hashlib.sha256(content).hexdigest()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error keeps its type and names the file."""
    file = tmp_path / "gone" / "image.npy"
    with pytest.raises(FileNotFoundError) as caught:
        save_array(file, np.zeros((2, 2, 2), dtype=np.uint8))
    assert caught.value.filename == str(file)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_a_foreseen_error() -> None:
    """The error carries the number of "no space" and the file, so that the report can say so."""
    with pytest.raises(OSError, match="No space") as caught:
        save_array(Path("/dev/full"), np.zeros((4, 400, 400), dtype=np.float32))
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == "/dev/full"
    foreseen = find_foreseen(caught.value)
    assert foreseen is not None
    assert foreseen.code == ExitCode.MACHINE
    assert "/dev/full" in foreseen.report()
