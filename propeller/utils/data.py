"""Tokenizers and the assembly of [CLS] … [SEP] sequences; no Paddle needed.

    tokenizer = CharTokenizer(vocab)
    ids = [vocab[token] for token in tokenizer("好的 playing")]
    ids, segments = build_2_pair(ids, other, max_seqlen=128, cls_id=1, sep_id=2)

Tokenizers take text as str or UTF-8 bytes and return a list of str.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence

import numpy as np

from propeller.data.dataset import Dataset
from propeller.errors import UserError

UNKNOWN = "[UNK]"
LONGEST_WORD = 5  # characters of a dictionary word
_ASCII = re.compile(r"[A-Za-z0-9]+")
_RUNS = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")


class CharTokenizer:
    """Runs of ASCII letters and digits, and every other character by itself, each cut into word pieces.

    Args:
        vocab: the tokens; of a dict, its keys.
        lower: whether text is put in lower case first.
        sentencepiece_style_vocab: pieces that begin a word are marked by ``▁``; else pieces that do not, by ``##``.
    """

    def __init__(self, vocab: Collection, lower: bool = True, sentencepiece_style_vocab: bool = False) -> None:
        self.vocab = {_text(token) for token in vocab}
        self.lower, self.sentencepiece_style_vocab = lower, sentencepiece_style_vocab

    def __call__(self, text: str | bytes) -> list:
        decoded = _text(text)
        runs = _RUNS.findall(decoded.lower() if self.lower else decoded)
        return [piece for run in runs for piece in self._pieces(run)]

    def _pieces(self, run):
        first, rest = ("▁", "") if self.sentencepiece_style_vocab else ("", "##")
        return word_pieces(run, self.vocab, first, rest)

    def facts(self) -> list:
        """What the tokens depend on."""
        return [sorted(self.vocab), self.lower, self.sentencepiece_style_vocab]


def word_pieces(word: str, vocab: Collection, first: str = "", rest: str = "##") -> list:
    """Cut a word into the longest pieces of the vocabulary, from the left; ``[UNK]`` where that fails.

    Args:
        word: without blanks.
        vocab: the pieces.
        first, rest: marks of a piece at the beginning and of one elsewhere.
    """
    pieces, begin = [], 0
    while begin < len(word):
        mark = rest if begin else first
        end = next((end for end in range(len(word), begin, -1) if mark + word[begin:end] in vocab), None)
        if end is None:
            return [UNKNOWN]
        pieces.append(mark + word[begin:end])
        begin = end
    return pieces


class SpaceTokenizer:
    """The parts between blanks; ``[UNK]`` for one that is not in the vocabulary.

    Args:
        vocab: the tokens; of a dict, its keys.
        lower: whether text is put in lower case first.
    """

    def __init__(self, vocab: Collection, lower: bool = True) -> None:
        self.vocab, self.lower = {_text(token) for token in vocab}, lower

    def __call__(self, text: str | bytes) -> list:
        decoded = _text(text)
        parts = (decoded.lower() if self.lower else decoded).split()
        return [part if part in self.vocab else UNKNOWN for part in parts]

    def facts(self) -> list:
        """What the tokens depend on."""
        return [sorted(self.vocab), self.lower]


class WSSPTokenizer:
    """Words by greedy longest match with a dictionary, then sentencepiece.

    Args:
        sp_model: path of a sentencepiece model.
        word_dict: path of a text file with one word per line. (2019 had a pickle, which can run code when it is read.)
        ws: whether there is a dictionary; without, words are what stands between blanks.
        lower: whether text is put in lower case first.

    Raises:
        UserError: a file cannot be read, or the dictionary is no text.
    """

    def __init__(self, sp_model: str, word_dict: str | None = None, ws: bool = True, lower: bool = True) -> None:
        import sentencepiece

        self.ws, self.lower = ws, lower
        self.model = sentencepiece.SentencePieceProcessor()
        try:
            self.model.Load(str(sp_model))
        except (OSError, RuntimeError) as error:
            raise UserError(f"{sp_model}: cannot be read as a sentencepiece model: give one") from error
        self.words = _read_words(word_dict) if ws else frozenset()

    def __call__(self, text: str | bytes) -> list:
        decoded = _text(text)
        words = (decoded.lower() if self.lower else decoded).split()
        if self.ws:
            words = [word for part in words for word in self._words(part)]
        return self.model.EncodeAsPieces(" ".join(words))

    def _words(self, text):
        begin = 0
        while begin < len(text):
            ends = range(min(begin + LONGEST_WORD, len(text)), begin + 1, -1)
            run = _ASCII.match(text, begin)  # of letters and digits: left whole
            alone = run.end() if run else begin + 1
            end = next((end for end in ends if text[begin:end] in self.words), alone)
            yield text[begin:end]
            begin = end


def _read_words(path):
    if path is None:
        raise UserError("WSSPTokenizer: no dictionary: give word_dict, or ws=False")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return frozenset(line.rstrip("\n").split("\t")[0] for line in file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a file with one word per line") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no UTF-8 text (a pickle is not read): write one word per line") from error


def build_1_pair(ids: Sequence, max_seqlen: int, cls_id: int, sep_id: int) -> tuple:
    """``[CLS] ids [SEP]``, cut at the end of ``ids`` where it is longer.

    Args:
        ids: of a text, ``[length]``.
        max_seqlen: the most ids of the result, 2 or more.
        cls_id, sep_id: the special tokens.

    Returns:
        ids and segment ids (all 0), int64 arrays of the same length. (2019 cut the last [SEP] off too.)
    """
    kept = np.asarray(ids, np.int64)[: max_seqlen - 2]
    joined = np.concatenate([[cls_id], kept, [sep_id]]).astype(np.int64)
    return joined, np.zeros_like(joined)


def build_2_pair(a: Sequence, b: Sequence, max_seqlen: int, cls_id: int, sep_id: int) -> tuple:
    """``[CLS] a [SEP] b [SEP]``; what is too long is cut at the end of the longer of the two.

    Args:
        a, b: ids of two texts.
        max_seqlen: the most ids of the result, 3 or more.
        cls_id, sep_id: the special tokens.

    Returns:
        ids and segment ids (0 up to the first [SEP], then 1), int64 arrays of the same length.
    """
    room = max_seqlen - 3
    of_a = max(room - len(b), min(len(a), (room + 1) // 2))
    first = np.asarray(a, np.int64)[: max(of_a, 0)]
    second = np.asarray(b, np.int64)[: max(room - len(first), 0)]
    joined = np.concatenate([[cls_id], first, [sep_id], second, [sep_id]]).astype(np.int64)
    return joined, np.repeat(np.array([0, 1], np.int64), [len(first) + 2, len(second) + 1])


def expand_dims(*arrays: np.ndarray) -> tuple:
    """Each array with one more axis of size 1 at its end."""
    return tuple(np.expand_dims(array, -1) for array in arrays)


def interleave(first: Dataset, second: Dataset) -> Dataset:
    """The elements of two data sets, turn by turn until both end; the name is the first one's."""

    def open_pass(passes):
        missing = object()
        pairs = itertools.zip_longest(first._open_pass(passes), second._open_pass(passes), fillvalue=missing)
        return (element for pair in pairs for element in pair if element is not missing)

    return Dataset(open_pass, first.name)


def _text(text: str | bytes) -> str:
    return text.decode("utf8", "replace") if isinstance(text, bytes) else text
