"""What a PaddleNLP directory's tokenizer reads besides the vocabulary.

    from ernie.foreign_text import subword_files
    subword_files(Path("ernie-tiny"))                 # {"sentencepiece.model": ..., "word_dict.txt": ...}

ERNIE tiny cuts text into the words of a dictionary, and these by sentencepiece. PaddleNLP keeps the dictionary as a
pickle, ``dict.wordseg.pickle``; it is read as data, without running it, and written as text, one word per line.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from propeller.plain_pickle import PlainPickleError, read_plain
from tokenization import SP_MODEL, WORD_DICT

PICKLED_WORDS = "dict.wordseg.pickle"
_MOST_STEPS = 20_000_000  # a word of the dictionary takes two to four


def subword_files(source: Path) -> dict[str, bytes]:
    """The files of a sub-word tokenizer (``tokenization.WSSPTokenizer``) under our names; {} of a model without one.

    Raises:
        UserError: there is a word dictionary and not one sentencepiece model beside it, or it cannot be read.
    """
    pickled, text = source / PICKLED_WORDS, source / WORD_DICT
    if not pickled.is_file() and not text.is_file():
        return {}
    models = sorted(source.glob("*.model"))
    if len(models) != 1:
        raise UserError(
            f"{source}: has a word dictionary and {len(models)} sentencepiece models (*.model), not 1: add the one "
            "that belongs to it"
        )
    words = text.read_bytes() if text.is_file() else _lines(read_pickled_words(pickled), pickled)
    return {SP_MODEL: models[0].read_bytes(), WORD_DICT: words}


def _lines(words, path):
    broken = next((word for word in words if "\n" in word or "\r" in word), None)
    if broken is not None:
        raise UserError(f"{path}: the word {broken[:50]!r} holds a line break: leave it out of the dictionary")
    return "".join(word + "\n" for word in sorted(words)).encode("utf8", "surrogatepass")


def read_pickled_words(path: Path) -> set[str]:
    """The words of a pickled set, list, tuple, or dict with words as its keys; nothing in the file is executed.

    Raises:
        UserError: it cannot be read, is damaged, or holds anything else.
    """
    sets: dict[tuple[str, str], Any] = {
        (module, name): _items
        for module, names in (("builtins", "set frozenset"), ("__builtin__", "set frozenset"),
                              ("collections", "OrderedDict"))
        for name in names.split()
    }  # fmt: skip
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            content = read_plain(data, sets, most_steps=_MOST_STEPS)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give the model's complete directory") from error
    except ValueError as error:  # damaged, or an empty file, which cannot be mapped
        raise UserError(f"{path}: not a dictionary of words ({error}): get it from its publisher again") from error
    if not isinstance(content, (list, tuple, dict)) or not all(isinstance(word, str) for word in content):
        raise UserError(f"{path}: holds something else than words: get it from its publisher again")
    return set(content)


def _items(items: Iterable[Any] = ()) -> Any:
    if not isinstance(items, (list, tuple)):
        raise PlainPickleError("a set is not filled as Python does")
    return items if items else {}  # an OrderedDict is filled after it is made
