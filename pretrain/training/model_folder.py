"""What a run puts beside its checkpoints, so that its folder is a model that recipes take as MODEL_PATH."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from propeller.files import write_file
from tokenization import ADDED_TOKENS

if TYPE_CHECKING:
    from ernie.config import ErnieConfig
    from tokenization_base import BaseTokenizer

CONFIG, VOCAB, PARAMS = "ernie_config.json", "vocab.txt", "params"
FILES = (CONFIG, VOCAB, ADDED_TOKENS, PARAMS)
LINKS = (PARAMS,)


def is_model(folder: Path) -> bool:
    """Whether all is there."""
    return all((folder / name).exists() for name in (CONFIG, VOCAB, PARAMS))


def make_model(folder: Path, config: ErnieConfig, vocab_path: str | Path, tokenizer: BaseTokenizer) -> None:
    """Add the network, the vocabulary, and the last checkpoint as ``params``."""
    config.save(folder / CONFIG)
    write_file(folder / VOCAB, Path(vocab_path).read_bytes())
    added = tokenizer.added_tokens.source
    if added:
        write_file(folder / ADDED_TOKENS, Path(added).read_bytes())
    fresh = folder / f".{PARAMS}.new"  # cleared by the saver where a kill leaves it
    fresh.unlink(missing_ok=True)
    fresh.symlink_to("last")
    fresh.replace(folder / PARAMS)
