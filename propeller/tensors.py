"""Writing arrays as a safetensors file.

save_arrays("optimizer.safetensors", {"moment": np.zeros(3, "float32")})
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import save_file

from propeller.files import give_usual_mode


def save_arrays(path: str | Path, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a file with the permissions that the umask says; safetensors 0.8 makes its files private.

    Args:
        path: the file.
        arrays: name -> array, contiguous.
        metadata: for the head of the file.

    Raises:
        OSError: the system does not let it be written.
    """
    try:
        save_file(dict(arrays), path, metadata=dict(metadata) if metadata else None)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # all it says of what the system said
        if number is None:
            raise
        raise OSError(int(number.group(1)), os.strerror(int(number.group(1))), str(path)) from None
    give_usual_mode(Path(path))
