"""Tokenizers over a sentencepiece model: of whole texts, of words of a dictionary, of words set apart by blanks."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from propeller.errors import UserError
from tokenization_base import BaseTokenizer
from tokenization_basic import lower, lower_with_spans
from tokenization_words import WordDict

SP_MODEL, WORD_DICT = "sentencepiece.model", "word_dict.txt"  # their names in a checkpoint and a converted model
_SURROGATES = re.compile("[\ud800-\udfff]")
_WORDSEG_WORDS = re.compile("[^\\s\1]+")


def _find_sp_model(vocab_file, sp_model):
    """`sp_model`; else ``<vocab_file>.model``, as Baidu's own code; else the one ``*.model`` beside the vocabulary."""
    if sp_model is not None:
        return Path(sp_model)
    beside = Path(f"{vocab_file}.model")
    if beside.is_file():
        return beside
    models = sorted(Path(vocab_file).parent.glob("*.model"))
    if len(models) == 1:
        return models[0]
    seen = ", ".join(path.name for path in models) or "none"
    looked = f"looked for {beside} and for a single {beside.parent / '*.model'} (found: {seen})"
    raise UserError(f"{vocab_file}: no sentencepiece model: {looked}; put it at {beside} or pass sp_model=")


class SentencepieceTokenizer(BaseTokenizer):
    """The pieces of a sentencepiece model (Kudo and Richardson 2018), with the ids of `vocab_file`, not the model's.

    The model is `sp_model`, else ``<vocab_file>.model`` (as in Baidu's code), else the only ``*.model`` beside it;
    a UserError says what was looked for. A piece that the vocabulary lacks is [UNK]. The byte 0x01, by which
    Baidu's data is pre-segmented, counts as a blank.
    """

    _transient = ("_ids", "_sp", "_byte_offsets")

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        do_lower_case: bool = True,
        sp_model: str | os.PathLike[str] | None = None,
        for_cn: bool = False,
    ) -> None:
        self.sp_model = str(_find_sp_model(vocab_file, sp_model))
        try:
            self._model_bytes = Path(self.sp_model).read_bytes()
        except OSError as error:
            raise UserError(f"{self.sp_model}: cannot read the sentencepiece model: {error.strerror}") from None
        super().__init__(vocab_file, do_lower_case, for_cn)

    def _prepare(self):
        super()._prepare()
        import sentencepiece  # here: the other tokenizers work without it

        self._sp = sentencepiece.SentencePieceProcessor()
        try:
            self._sp.LoadFromSerializedProto(self._model_bytes)
            loaded = self._sp.GetPieceSize() > 0
        except RuntimeError:
            loaded = False
        if not loaded:
            raise UserError(f"{self.sp_model}: not a sentencepiece model; make one with SentencePieceTrainer")
        self._byte_offsets = self._spans("\u00e9")[-1][2] == 2  # the library's unit differs between its versions

    def _clean(self, text):
        text = text.replace("\1", " ")
        return text if text.isascii() else _SURROGATES.sub("\ufffd", text)

    def _spans(self, text):
        sp: Any = self._sp  # which of the two calls it has depends on its version
        try:
            found = sp.encode_as_immutable_proto(text)
        except (AttributeError, ValueError):  # the library's newer versions have the other call only
            found = sp.encode_as_proto(text)
        return [(piece.piece, piece.begin, piece.end) for piece in found.pieces]

    def _known(self, pieces):
        return [piece if piece in self.vocab else self.unk_token for piece in pieces]

    def _tokenize(self, text):
        text = self._clean(text)
        return self._known(self._sp.encode(lower(text) if self.do_lower_case else text, out_type=str))

    def _offsets(self, text):
        lowered = self._clean(text)
        places: Sequence[int] = range(len(text))
        if self.do_lower_case:
            lowered, places = lower_with_spans(lowered)
        spans = self._spans(lowered)
        if self._byte_offsets:
            at = list(chain.from_iterable([index] * len(char.encode()) for index, char in enumerate(lowered)))
            at.append(len(lowered))
            spans = [(piece, at[begin], at[end]) for piece, begin, end in spans]
        found, places = [], [*places, len(text)]
        for piece, begin, end in spans:
            while piece.startswith("\u2581") and begin < end and lowered[begin].isspace():  # the blank before a word
                begin += 1
            token = piece if piece in self.vocab else self.unk_token
            found.append((token, places[begin], places[end - 1] + 1 if end > begin else places[begin]))
        return found

    def _words(self, text):
        return (text,)  # sentencepiece cuts across blanks: only whole texts can be remembered

    def _content(self):
        return [*super()._content(), hashlib.sha256(self._model_bytes).hexdigest()]


class WSSPTokenizer(SentencepieceTokenizer):
    """ERNIE tiny's: words by a dictionary, set apart by blanks, then cut by sentencepiece (2019's WSSPTokenizer).

    See `tokenization_words.WordDict` for how text becomes words; blanks vanish in it, so `for_cn` does nothing here.
    Text is lower-cased after that, as in 2019: the dictionary is compared with the text as it stands. The dictionary
    is `word_dict`, else `word_dict.txt` beside the vocabulary, plain text. Baidu's own is a pickle, of which
    `python -m ernie.convert` makes that text.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        do_lower_case: bool = True,
        sp_model: str | os.PathLike[str] | None = None,
        for_cn: bool = False,
        word_dict: str | os.PathLike[str] | None = None,
    ) -> None:
        self.word_dict = str(word_dict or Path(vocab_file).parent / WORD_DICT)
        self._words_of = WordDict.read(self.word_dict)
        super().__init__(vocab_file, do_lower_case, sp_model, for_cn=False)

    def _tokenize(self, text):
        return super()._tokenize(self._words_of.spaced(text)[0])

    def _offsets(self, text):
        spaced, places = self._words_of.spaced(text)
        found = []
        for token, begin, end in super()._offsets(spaced):
            last = places[end - 1] + 1 if end > begin else None
            start = places[begin] if begin < len(places) else len(text)
            found.append((token, start, start if last is None else last))
        return found

    def _content(self):
        return [*super()._content(), self._words_of.digest]


class WordsegTokenizer(SentencepieceTokenizer):
    """Text whose words are set apart by blanks (or by 0x01, as Baidu's data), each word then cut by sentencepiece.

    A word that the vocabulary holds whole stays whole. `for_cn` does nothing here: the blanks are the segmentation.
    Baidu's class drops pieces that the vocabulary lacks; here they are [UNK], so that no text goes unseen.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike[str],
        do_lower_case: bool = True,
        sp_model: str | os.PathLike[str] | None = None,
        for_cn: bool = False,
    ) -> None:
        super().__init__(vocab_file, do_lower_case, sp_model, for_cn=False)

    def _tokenize(self, text):
        tokens: list[str] = []
        for word in self._words(lower(text) if self.do_lower_case else text):
            tokens += [word] if word in self.vocab else super()._tokenize(word)
        return tokens

    def _offsets(self, text):
        found = []
        for match in _WORDSEG_WORDS.finditer(text):
            word = lower(match.group()) if self.do_lower_case else match.group()
            cut = [(word, 0, len(match.group()))] if word in self.vocab else super()._offsets(match.group())
            found += [(token, match.start() + begin, match.start() + end) for token, begin, end in cut]
        return found

    def _words(self, text):
        return _WORDSEG_WORDS.findall(text)
