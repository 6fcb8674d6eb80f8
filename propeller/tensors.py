"""Writing arrays as a safetensors file.

save_arrays("optimizer.safetensors", {"moment": np.zeros(3, "float32")})
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from propeller.files import give_usual_mode


def save_arrays(path: str | Path, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file with the permissions that the umask says; safetensors 0.8 makes its files private.

    That version also writes a transposed array in the order of its memory, with the shape of the view: arrays are laid
    out in C's order first.

    Args:
        path: the file.
        arrays: name -> array.
        metadata: for the head of the file.

    Raises:
        OSError: the system does not let it be written.
    """
    laid_out = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in arrays.items()}
    try:
        save_file(laid_out, path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # all it says of what the system said
        if number is None:
            raise
        raise OSError(int(number.group(1)), os.strerror(int(number.group(1))), str(path)) from None
    give_usual_mode(Path(path))
