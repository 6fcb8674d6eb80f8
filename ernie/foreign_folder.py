"""A Hugging Face directory where a model is wanted: it is converted for as long as it is used.

    with ready("bert-base-uncased"):                # nothing for a directory of another kind
        place_of("bert-base-uncased") / "params"    # as python -m ernie.convert makes it

Programs that take the same directory at the same time, such as the processes of one run, share the conversion. Messages
and log lines have the directory's own name.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ernie.facts import FACTS
from propeller import shared_scratch
from propeller.errors import UserError
from propeller.shown import show_as

log = logging.getLogger("ernie.convert")

PREFIX = "ernie-model-"
# The files that a conversion may depend on; others in the directory may come and go while a run begins.
OF_A_MODEL = ("config*.json", "*.safetensors", "*.index.json", "pytorch_model*", "vocab*", "tokenizer*", "*.model",
              "added_tokens.json", "special_tokens_map.json", "modules.json", "sentence_*.json",
              "*/config.json")  # fmt: skip
CONFIG, FOREIGN_CONFIG = "ernie_config.json", "config.json"


def is_foreign(folder: str | os.PathLike[str]) -> bool:
    """Whether a directory is that of a Hugging Face model, by its configuration."""
    folder = Path(folder)
    return (folder / FOREIGN_CONFIG).is_file() and not (folder / CONFIG).is_file()


def place_of(folder: str | os.PathLike[str], pooler: bool = True) -> Path:
    """The directory that ``Converted`` makes of one: ``params/``, ``ernie_config.json`` and ``vocab.txt``.

    From now on messages have the names of the Hugging Face directory for it.
    """
    folder = Path(folder)
    place = shared_scratch.place_of(PREFIX, _key(folder, pooler))
    parts = {"params": folder, FACTS: folder, CONFIG: folder / FOREIGN_CONFIG, "vocab.txt": folder / "vocab.txt"}
    show_as({place: folder, **{place / part: name for part, name in parts.items()}})
    return place


class Converted:
    """The conversion of a Hugging Face directory.

    Args:
        folder: the directory.
        pooler: whether a pooler is drawn where the model was saved without one, to be trained; otherwise the conversion
            has none either.

    Attributes:
        path: the converted model's directory; it goes with the last program that uses it.

    Raises:
        UserError: see ``ernie.foreign_to_params.to_params``; there is no room for it.
    """

    def __init__(self, folder: str | os.PathLike[str], pooler: bool = True) -> None:
        folder = Path(folder)
        place_of(folder, pooler)

        def fill(target: Path) -> None:
            from ernie.foreign_to_params import to_params

            log.info("%s: a Hugging Face model, converted for this program", folder)
            try:
                to_params("hf", folder, target, init_pooler=True if pooler else None)
            except UserError as error:
                if " --" not in str(error):
                    raise
                library = "" if " --from " in str(error) else "--from hf "
                command = f"python -m ernie.convert {library}--to params {folder} NEW"
                raise UserError(f"{error}, a flag of {command}, and give --model NEW") from None

        self._scratch = shared_scratch.SharedScratch(PREFIX, _key(folder, pooler), fill)
        self.path = self._scratch.path

    def cleanup(self) -> None:
        """Leave it now; at the latest that happens at the end of the program."""
        self._scratch.cleanup()


@contextlib.contextmanager
def ready(folder: str | os.PathLike[str] | None, pooler: bool = True) -> Iterator[None]:
    """What ``place_of`` names is there meanwhile, where ``folder`` is a Hugging Face directory.

    Raises:
        UserError: see ``Converted``.
    """
    if folder is None or not is_foreign(folder):
        yield
        return
    converted = Converted(folder, pooler)
    try:
        yield
    finally:
        converted.cleanup()


def _key(folder, pooler):
    """Another one for another place, or for files that were changed."""
    files = sorted({path for pattern in OF_A_MODEL for path in folder.glob(pattern) if path.is_file()})
    about = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((str(folder.resolve()), pooler, about)).encode()).hexdigest()[:16]
