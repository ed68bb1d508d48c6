"""Arrays on the disk: .npy files that memory-map, and their checksums."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save_array(file: Path, array: NDArray[Any]) -> str:
    """Write `array` as .npy in C order; returns the file's SHA-256, taken on the way.

    np.save is not used because on a full disk it raises an OSError without the error's number, which no reader could
    tell from a defect.
    """
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    checksum = hashlib.sha256()
    try:
        with file.open("wb") as stream:
            for part in (header.getbuffer(), array.data.cast("B")):
                checksum.update(part)
                stream.write(part)
    except OSError as error:
        if error.filename is None:  # a failed write does not say where
            raise OSError(error.errno, error.strerror, str(file)) from error
        raise
    return checksum.hexdigest()
