"""A dictionary of words, and text cut by it: the first half of ERNIE tiny's tokenizer.

from tokenization_words import WordDict
words = WordDict.read("word_dict.txt")
words.spaced("今天天气好")          # ("今天 天气 好", [0, 1, 2, 2, 3, 4, 4])
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from itertools import islice

from propeller.errors import UserError

LONGEST_WORD = 5  # characters, as in 2019; longer entries are never met
_SEPARATORS = (" ", "\1")  # 0x01 separates the words of Baidu's data


class WordDict:
    """Words, to be found in text from the left, the longest first.

    Args:
        words: the entries.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(word for word in words if word)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> WordDict:
        """The words of a UTF-8 file, one per line; what stands after a tab on a line is ignored.

        Raises:
            UserError: it cannot be read, is not text, or holds no word.
        """
        try:
            with open(path, encoding="utf8", newline="\n") as file:
                words = cls(line.rstrip("\r\n").partition("\t")[0] for line in file)
        except OSError as error:
            raise UserError(
                f"{path}: cannot read the word dictionary ({error.strerror}): put it there, one word per line"
            ) from None
        except UnicodeDecodeError:
            raise UserError(
                f"{path}: not UTF-8 text: give one word per line; a pickle is not read, python -m ernie.convert makes "
                "text of ERNIE tiny's"
            ) from None
        if not words.words:
            raise UserError(f"{path}: holds no word: give a dictionary with one word per line")
        return words

    def spaced(self, text: str) -> tuple[str, list[int]]:
        """The words with a blank between, and for each character of that its place in ``text``.

        A word is the longest entry that begins where the word before ended, else a single character. Blanks separate
        words and vanish; the place of a new blank is that of the word after it.
        """
        parts: list[str] = []
        places: list[int] = []
        begin = 0
        while begin < len(text):
            longest = min(begin + LONGEST_WORD, len(text))
            end = next((at for at in range(longest, begin, -1) if text[begin:at] in self.words), begin + 1)
            word = text[begin:end]
            if word not in _SEPARATORS:
                places += [begin, *range(begin, end)] if parts else range(begin, end)
                parts.append(word)
            begin = end
        return " ".join(parts), places

    @property
    def digest(self) -> str:
        """sha256 (hex) of the words."""
        total, ordered = hashlib.sha256(), iter(sorted(self.words))
        while lines := "\n".join(islice(ordered, 10_000)):
            total.update(lines.encode("utf8", "surrogatepass") + b"\n")
        return total.hexdigest()
