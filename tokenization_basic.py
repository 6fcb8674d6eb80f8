"""What the tokenizers stand on: BERT's basic tokenisation (Devlin et al. 2018) as in the 2019 code, and vocabularies.

    from tokenization import BasicTokenizer
    BasicTokenizer(do_lower_case=True).tokenize("Hello, W\u00f6rld")      # ["hello", ",", "world"]

Users import these names from `tokenization`. Characters are classed by Unicode 11.0 (tokenization_tables.py).
"""

from __future__ import annotations

import bisect
import collections
import functools
import io
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from propeller.encoding import remedy
from propeller.errors import UserError
from tokenization_tables import CJK, CJK_ASSIGNED, MARKS, PUNCTUATION, REMOVED, char_class, ranges

logger = logging.getLogger("ernie.tokenization")

VOCAB_LINES, VOCAB_BYTES = 2_000_000, 1 << 26
LONG_WORD = 256  # characters; see strip_accents
_ASCII_REMOVED = {code: None for code in (*range(32), 127) if chr(code) not in "\t\n\r"}
_ASCII_WORDS = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
Patterns = collections.namedtuple("Patterns", "removed cjk marks punctuation pieces")


@functools.cache
def patterns() -> Patterns:
    """The regular expressions over the Unicode 11.0 tables; made on first use, some milliseconds."""

    def either(table):
        low, high = char_class(table, 0, 0xFFFF), char_class(table, 0x10000)
        return f"(?:[{low}]|(?![\\0-\\uffff])[{high}])" if high else f"[{low}]"

    single = char_class(CJK_ASSIGNED) + char_class(PUNCTUATION, 0, 0xFFFF)
    return Patterns(
        removed=re.compile(either(REMOVED)),
        cjk=re.compile(either(CJK)),
        marks=re.compile(either(MARKS)),
        punctuation=re.compile(f"({either(PUNCTUATION)})"),
        pieces=re.compile(f"[{single}]|[^\\s{single}]+"),  # beyond U+FFFF all stays in one piece, cut later
    )


@functools.cache
def _bounds(table):
    return [bound for first, last in ranges(table) for bound in (first, last + 1)]


@functools.lru_cache(maxsize=1 << 16)
def char_kind(char: str) -> str:
    """Which of "removed", "space", "cjk", "punctuation", "mark" or "other" a character is to the BasicTokenizer."""
    code = ord(char)
    for kind, table in (("removed", REMOVED), ("cjk", CJK)):
        if bisect.bisect_right(_bounds(table), code) % 2:
            return kind
    if char.isspace():
        return "space"
    for kind, table in (("punctuation", PUNCTUATION), ("mark", MARKS)):
        if bisect.bisect_right(_bounds(table), code) % 2:
            return kind
    return "other"


@functools.cache
def _younger_capitals():
    """Capitals that this Python lower-cases and Unicode 11.0 did not know: the 2019 code left them as they were."""
    codes = (code for first, last in ranges(REMOVED) for code in range(first, min(last, 0x1FFFF) + 1))
    capitals = "".join(chr(code) for code in codes if chr(code).lower() != chr(code))
    return re.compile(f"([{capitals}]+)") if capitals else None


def lower(text: str) -> str:
    """``text.lower()`` of Unicode 11.0. A capital sigma's form depends on its neighbours, so pass whole words."""
    younger = None if text.isascii() else _younger_capitals()
    if younger is None or not younger.search(text):
        return text.lower()
    return "".join(part if i % 2 else part.lower() for i, part in enumerate(younger.split(text)))


@functools.lru_cache(maxsize=1 << 12)
def _without_marks(char):
    return patterns().marks.sub("", unicodedata.normalize("NFD", char))


def strip_accents(word: str) -> str:
    """The word decomposed (NFD) and without its combining marks (Unicode 11.0's category Mn).

    Decomposing puts a run of marks in order in time that grows with the square of its length. In a long word the
    characters are therefore decomposed one by one, the marks, which go anyway, are left out, and of what is left the
    few characters that have an order are sorted: the result is the same.
    """
    if len(word) <= LONG_WORD:
        return patterns().marks.sub("", unicodedata.normalize("NFD", word))
    bases = "".join(map(_without_marks, word))
    ordered = "".join(char for char in set(bases) if unicodedata.combining(char))
    if not ordered:
        return bases
    return re.sub(f"[{ordered}]+", lambda run: "".join(sorted(run.group(), key=unicodedata.combining)), bases)


def lower_with_spans(text: str) -> tuple[str, Sequence[int]]:
    """Lower-cased text, and for each of its characters the place in `text` it came from (one may become two)."""
    lowered = lower(text)
    if len(lowered) == len(text):
        return lowered, list(range(len(text)))
    return lowered, [index for index, char in enumerate(text) for _ in lower(char)]


def convert_to_unicode(text: str | bytes) -> str:
    """`text` as str; bytes are read as UTF-8 and, as in 2019, their malformed bytes dropped. ValueError otherwise."""
    if isinstance(text, str):
        return text
    if isinstance(text, bytes):
        return text.decode("utf-8", "ignore")
    raise ValueError(f"Unsupported string type: {type(text)}")


class UnknownTokenError(UserError, KeyError):
    """A token or id that the vocabulary does not hold; a KeyError too, as in 2019."""

    __str__ = Exception.__str__  # KeyError would print the message's repr


def convert_by_vocab(vocab: Mapping[Any, Any], items: Iterable[Any]) -> list[Any]:
    """The entry of each item, in their order; raises UnknownTokenError for one that ``vocab`` lacks."""
    try:
        return [vocab[item] for item in items]
    except KeyError as error:
        missing = f"no {error.args[0]!r} in this vocabulary of {len(vocab)} tokens"
        raise UnknownTokenError(f"{missing}; take the vocabulary that belongs to the model") from None


def convert_tokens_to_ids(vocab: Mapping[str, int], tokens: Iterable[str]) -> list[int]:
    """The ids of tokens by a vocabulary token -> id; see ``convert_by_vocab``."""
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab: Mapping[int, str], ids: Iterable[int]) -> list[str]:
    """The tokens of ids by an inverted vocabulary id -> token; see ``convert_by_vocab``."""
    return convert_by_vocab(inv_vocab, ids)


def printable_text(text: str | bytes) -> str:
    """``text`` as str, for the log; see ``convert_to_unicode``, which since Python 3 is the same."""
    return convert_to_unicode(text)


def whitespace_tokenize(text: str) -> list[str]:
    """The words of a text, cut at white space; [] of a blank one."""
    return text.split()


def clean_text_for_cn(text: str) -> str:
    """What the 2019 classification reader's ``for_cn`` did to text_a and text_b: U+0020 blanks go, nothing else.

    So Chinese that was segmented by blanks reads as running text. English must be read with for_cn off: its words
    would be glued. The tagging and reading comprehension readers of 2019 never did this.
    """
    return text.replace(" ", "")


def tokenize_chinese_chars(text: str) -> list[str]:
    """Cuts at CJK characters and at blank, tab, line feed, return and U+202F; these stay, each an item of its own.

    No other white space cuts (U+3000, U+00A0 do not): kept as in 2019, where reading comprehension relies on it.
    """
    cjk = patterns().cjk
    items: list[str] = []
    run: list[str] = []
    for char in text:
        if char in " \t\r\n\u202f" or cjk.match(char):
            items += ["".join(run), char] if run else [char]
            run = []
        else:
            run.append(char)
    return [*items, "".join(run)] if run else items


class BasicTokenizer:
    """Cleans, separates CJK characters and punctuation, lower-cases and strips accents (or neither, if cased)."""

    def __init__(self, do_lower_case: bool = True) -> None:
        self.do_lower_case = do_lower_case

    def tokenize(self, text: str | bytes) -> list[str]:
        """The words of `text`, a str or UTF-8 bytes."""
        text = convert_to_unicode(text)
        if text.isascii():
            text = text.translate(_ASCII_REMOVED)
            return _ASCII_WORDS.findall(text.lower() if self.do_lower_case else text)
        regex = patterns()
        cleaned = regex.cjk.sub(r" \g<0> ", regex.removed.sub("", text))  # nothing younger than 11.0 is left
        tokens = []
        for word in cleaned.split():
            if self.do_lower_case:
                word = strip_accents(word.lower())
            tokens += [token for token in regex.punctuation.split(word) if token]
        return tokens

    def tokenize_with_offsets(self, text: str) -> list[tuple[str, list[tuple[int, int]]]]:
        """The same words, each with the (start, end) in `text` that every one of its characters came from."""
        tokens: list[tuple[list[str], list[tuple[int, int]]]] = []
        for word in self._raw_words(text):
            fresh = True
            for char, start, end in self._normalise(word):
                single = char_kind(char) == "punctuation"
                if fresh or single:
                    tokens.append(([], []))
                tokens[-1][0].append(char)
                tokens[-1][1].append((start, end))
                fresh = single
        return [("".join(chars), spans) for chars, spans in tokens]

    @staticmethod
    def _raw_words(text):
        """The cleaned words before lower-casing, each a list of (character, place in text)."""
        words: list[list[tuple[str, int]]] = []
        fresh = True
        for index, char in enumerate(text):
            kind = char_kind(char)
            if kind == "removed":
                continue
            if kind != "space":
                if fresh or kind == "cjk":
                    words.append([])
                words[-1].append((char, index))
            fresh = kind in ("space", "cjk")
        return words

    def _normalise(self, word):
        """(character, start, end) after lower-casing and accent stripping; a stripped accent extends its letter."""
        if not self.do_lower_case:
            return [(char, index, index + 1) for char, index in word]
        lowered, places = lower_with_spans("".join(char for char, _ in word))
        chars = []
        for low, place in zip(lowered, places):
            index = word[place][1]
            for char in unicodedata.normalize("NFD", low):
                if char_kind(char) != "mark":
                    chars.append((char, index, index + 1))
                elif chars:
                    chars[-1] = (chars[-1][0], chars[-1][1], index + 1)
        stripped = strip_accents(lowered)
        if stripped != "".join(char for char, _, _ in chars):
            # NFD put combining marks of several characters in order: no character of its own place any more.
            return [(char, word[0][1], word[-1][1] + 1) for char in stripped]
        return chars


def _vocab_lines(vocab_file):
    try:
        with open(vocab_file, "rb") as file:
            data = file.read(VOCAB_BYTES + 1)
    except OSError as error:
        raise UserError(f"{vocab_file}: cannot read the vocabulary: {error.strerror}; check --vocab_path") from None
    if len(data) > VOCAB_BYTES or data.count(b"\n") > VOCAB_LINES:
        raise UserError(
            f"{vocab_file}: over {VOCAB_LINES:,} lines or {VOCAB_BYTES >> 20} MiB, more than any vocabulary has; give "
            "the model's vocab.txt, one token per line"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{vocab_file}: line {line}: byte 0x{data[error.start]:02x} is not UTF-8; {remedy(vocab_file, data)}"
        ) from None
    if not text:
        raise UserError(f"{vocab_file}: the vocabulary is empty; give a file with one token per line")
    return io.StringIO(text, newline=None)


def load_vocab(vocab_file: str | os.PathLike[str], strict: bool = False) -> collections.OrderedDict[str, int]:
    """Reads `token` or `token<TAB>id` a line; without an id, a token's id is its line number from 0.

    As in 2019 by default: a blank line is the token "" (it keeps the numbering), a repeated token takes its last id,
    and a line of three or more columns ends the vocabulary, of which a warning is logged. `strict`, which
    every tokenizer here uses, makes an error of all these but blank lines, of an id used twice and of a negative one.

    Raises:
        UserError: naming file and line: unreadable, empty, not UTF-8, an id that is no integer; see `strict`.
    """
    vocab: collections.OrderedDict[str, int] = collections.OrderedDict()
    lines_of_ids: dict[int, int] = {}
    for number, line in enumerate(_vocab_lines(vocab_file)):
        where = f"{vocab_file}: line {number + 1}"
        token, *index = line.strip().split("\t")
        token = token.strip()
        if len(index) > 1:
            if strict:
                raise UserError(f"{where}: {len(index) + 1} columns; write a token, or a token, a tab and its id")
            logger.warning("%s: %d columns; the vocabulary ends before it", where, len(index) + 1)
            break
        try:
            index = int(index[0]) if index else number
        except ValueError:
            raise UserError(
                f"{where}: the id {index[0]!r} of {token!r} is not an integer; write it in digits"
            ) from None
        if strict and token in vocab and token:
            raise UserError(f"{where}: the token {token!r} was there already, with id {vocab[token]}; remove one")
        if strict and (index < 0 or index in lines_of_ids):
            used = f"is also that of line {lines_of_ids[index]}" if index >= 0 else "is negative"
            raise UserError(f"{where}: the id {index} of {token!r} {used}; give every token an id of its own")
        lines_of_ids[index] = number + 1
        vocab[token] = index
    return vocab
