"""Stop words: frequent words of grammar, which tell nothing of what a text is about.

    stop_words(plan)      # frozenset({"the", "of", ...}) for --segmenter english

`--stop_words FILE` (UTF-8, words with blanks or line ends between, lines that begin with # are comments), "" for none.
Without it: those of pretrain/corpus/english.py for --segmenter english, config/stop_words_zh.txt for the Chinese
segmenters, both for a segmenter of one's own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.corpus.english import STOP_WORDS
from propeller.encoding import remedy
from propeller.errors import UserError

if TYPE_CHECKING:  # builder.py imports this file
    from pretrain.corpus.builder import Plan

_ROOM = Path(__file__).resolve().parents[1]
CONFIG = _ROOM / "config" if (_ROOM / "config").is_dir() else _ROOM.parent / "config"  # installed; in the repository
LANGUAGES = {"english": "en", "lac": "zh", "jieba": "zh", "pre-segmented": "zh", "char": "zh"}


def language_of(plan: Plan) -> str | None:
    """``en``, ``zh``, or None where the segmenter does not tell."""
    return LANGUAGES.get(plan.segmenter)


def read_stop_words(path: str | Path) -> frozenset[str]:
    """The words of a list. Raises UserError: not there, not UTF-8."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"--stop_words {path}: {error.strerror}; give a file of words, or '' for none") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--stop_words {path}: not UTF-8; {remedy(path, error.object)}") from error
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def stop_words(plan: Plan) -> frozenset[str]:
    """Of a ``pretrain.corpus.builder.Plan``; see above."""
    if plan.stop_words is not None:
        return read_stop_words(plan.stop_words) if plan.stop_words else frozenset()
    language = language_of(plan)
    found = STOP_WORDS if language != "zh" else frozenset()
    return found if language == "en" else found | read_stop_words(CONFIG / "stop_words_zh.txt")


def fingerprint(plan: Plan) -> str:
    """SHA-256 of the words of a plan. Raises UserError: as ``stop_words``."""
    return hashlib.sha256("\n".join(sorted(stop_words(plan))).encode()).hexdigest()
