"""Text -> tokens -> ids, as the 2019 ERNIE code cut text, several times as fast and with offsets.

    from tokenization import build_tokenizer
    tokenizer = build_tokenizer("FullTokenizer", "vocab.txt", do_lower_case=True, for_cn=False)
    tokenizer.encode_batch(["hello world", "a second text"])      # ids, without [CLS] and [SEP]
    tokenizer.tokenize_with_offsets("Hello, World!")              # [("hello", 0, 5), (",", 5, 6), ...]

`FullTokenizer` is BERT's (Devlin et al. 2018): clean, split CJK characters, lower-case, strip accents, split
punctuation, then greedy longest-match word pieces, run by the `tokenizers` library. Its results equal the recorded
2019 ones, under Unicode 11.0 whatever the Python (tokenization_tables.py). Odd results that are kept for that:
form feed, vertical tab and other control characters vanish without separating words ("a\\x0cb" -> "ab"); so does every
character younger than Unicode 11.0; special tokens written in the text ("[MASK]") are cut into brackets and letters;
Hangul syllables are cut into their jamo and CJK characters outside the eight blocks of `tokenization_tables.CJK`
(extension F, the U+2E80 radicals) are not separated; one unknown character makes its whole word [UNK].
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tokenizers.models import WordPiece

from propeller.errors import UserError
from tokenization_added import ADDED_TOKENS, AddedTokens
from tokenization_basic import (
    BasicTokenizer,
    UnknownTokenError,
    char_kind,
    clean_text_for_cn,
    convert_by_vocab,
    convert_ids_to_tokens,
    convert_to_unicode,
    convert_tokens_to_ids,
    load_vocab,
    lower,
    lower_with_spans,
    patterns,
    printable_text,
    tokenize_chinese_chars,
    whitespace_tokenize,
)
from tokenization_words import WordDict

CACHED_WORDS = 1 << 18  # words whose ids are remembered: about 60 MB when full; it is then emptied and fills again
SP_MODEL, WORD_DICT = "sentencepiece.model", "word_dict.txt"  # their names in a checkpoint and a converted model
CACHED_WORD_LENGTH = 64  # longer words are rare and would make the cache's size depend on the text
# str.split() cuts at these, which the 2019 clean-up drops first.
_SEPARATING_CONTROLS = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_WORDSEG_WORDS = re.compile("[^\\s\1]+")

__all__ = [
    "ADDED_TOKENS",
    "TOKENIZERS",
    "BasicTokenizer",
    "CharTokenizer",
    "FullTokenizer",
    "SentencepieceTokenizer",
    "UnknownTokenError",
    "WSSPTokenizer",
    "WholeWordTokenizer",
    "WordpieceTokenizer",
    "WordsegTokenizer",
    "build_tokenizer",
    "clean_text_for_cn",
    "convert_by_vocab",
    "convert_ids_to_tokens",
    "convert_to_unicode",
    "convert_tokens_to_ids",
    "load_vocab",
    "printable_text",
    "tokenize_chinese_chars",
    "whitespace_tokenize",
]


class WordpieceTokenizer:
    """Greedy longest-match-first word pieces (Wu et al. 2016), by the `tokenizers` library's WordPiece model."""

    def __init__(self, vocab: Mapping[str, int], unk_token: str = "[UNK]", max_input_chars_per_word: int = 100) -> None:
        self.vocab, self.unk_token, self.max_input_chars_per_word = vocab, unk_token, max_input_chars_per_word
        numbered = {token: number for number, token in enumerate([*vocab, unk_token])}
        self._model = WordPiece(numbered, unk_token=unk_token, max_input_chars_per_word=max_input_chars_per_word)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.vocab, self.unk_token, self.max_input_chars_per_word)

    def tokenize(self, text: str | bytes) -> list[str]:
        """The pieces of every word of `text`; words are cut at white space. A word with no fit is one [UNK]."""
        return [piece for word in convert_to_unicode(text).split() for piece in self.pieces(word)]

    def pieces(self, word: str) -> list[str]:
        """The pieces of one word."""
        try:
            return [token.value for token in self._model.tokenize(word)]
        except UnicodeEncodeError:  # a lone surrogate: no vocabulary file can hold it
            return [self.unk_token]

    def pieces_with_offsets(self, word: str, spans: Sequence[tuple[int, int]]) -> list[tuple[str, int, int]]:
        """The pieces of one word whose characters lie at `spans`, each with where it starts and ends."""
        pieces = self.pieces(word)
        if pieces == [self.unk_token]:
            return [(self.unk_token, spans[0][0], spans[-1][1])]
        found, at = [], 0
        for piece in pieces:
            last = at + len(piece) - (2 if at else 0) - 1
            found.append((piece, spans[at][0], spans[last][1]))
            at = last + 1
        return found


class _WordCache(dict):
    """word -> its ids, a tuple, computed when first asked for. Bounded by CACHED_WORDS and CACHED_WORD_LENGTH."""

    def __init__(self, compute) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, word):
        ids = tuple(self._compute(word))
        if len(word) <= CACHED_WORD_LENGTH:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


class _Tokenizer:
    """What the tokenizers share. Not thread-safe to build, safe to use from several threads, picklable.

    Args:
        vocab_file: see `load_vocab`, strict. Tokens of an `added_tokens.json` beside it are read as one piece, see
            `tokenization_added.AddedTokens`.
        do_lower_case: lower-case (and, FullTokenizer, strip accents).
        for_cn: drop U+0020 blanks from every text first, see `clean_text_for_cn`. Offsets still count them.
    """

    unk_token = "[UNK]"
    _transient: tuple[str, ...] = ("_ids",)  # attributes that _prepare makes and a pickle leaves out

    def __init__(self, vocab_file: str | os.PathLike[str], do_lower_case: bool = True, for_cn: bool = False) -> None:
        self.vocab_file, self.do_lower_case, self.for_cn = str(vocab_file), do_lower_case, for_cn
        self.vocab = load_vocab(vocab_file, strict=True)
        self.added_tokens = AddedTokens.read(vocab_file)
        self.added_tokens.join(self.vocab, vocab_file)
        self.added_tokens.prepare(do_lower_case, self.for_cn)
        self.inv_vocab = {index: token for token, index in self.vocab.items()}
        self._prepare()

    def _tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    def _offsets(self, text: str) -> list[tuple[str, int, int]]:
        raise NotImplementedError

    def _words(self, text: str) -> Sequence[str]:
        raise NotImplementedError

    def _prepare(self):
        self._ids = _WordCache(lambda word: self.convert_tokens_to_ids(self._tokenize(word)))

    def _word_pieces(self):
        """The vocabulary that words are cut by: an added token is found before that, or is none."""
        return {token: number for token, number in self.vocab.items() if token not in self.added_tokens.tokens}

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name not in self._transient}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._prepare()

    def tokenize(self, text: str | bytes) -> list[str]:
        """The tokens of `text`, a str or UTF-8 bytes."""
        text = convert_to_unicode(text)
        text = clean_text_for_cn(text) if self.for_cn else text
        if not self.added_tokens:
            return self._tokenize(text)
        parts = self.added_tokens.cut(text)
        return [piece for part, _, token in parts for piece in ([token] if token is not None else self._tokenize(part))]

    def tokenize_with_offsets(self, text: str) -> list[tuple[str, int, int]]:
        """The same tokens with (start, end) in characters of the original `text`; never decreasing, within it."""
        if not self.for_cn:
            return self._all_offsets(text)
        kept = [index for index, char in enumerate(text) if char != " "]
        kept.append(len(text))  # where an empty piece at the end lies
        found = self._all_offsets(clean_text_for_cn(text))
        return [(token, kept[start], kept[end - 1] + 1 if end > start else kept[start]) for token, start, end in found]

    def _all_offsets(self, text):
        if not self.added_tokens:
            return self._offsets(text)
        found = []
        for part, at, token in self.added_tokens.cut(text):
            pieces = self._offsets(part) if token is None else [(token, 0, len(part))]
            found += [(piece, at + start, at + end) for piece, start, end in pieces]
        return found

    def encode(self, text: str) -> list[int]:
        """The ids of `text`'s tokens, without [CLS] and [SEP]."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """`encode` of every text, through a cache of word -> ids: the words already seen cost a look-up each."""
        lookup, words = self._ids.__getitem__, self._words
        texts = map(clean_text_for_cn, texts) if self.for_cn else texts
        if not self.added_tokens:
            return [list(chain.from_iterable(map(lookup, words(text)))) for text in texts]
        result = []
        for text in texts:
            ids: list[int] = []
            for part, _, token in self.added_tokens.cut(text):
                ids.extend(chain.from_iterable(map(lookup, words(part))) if token is None else (self.vocab[token],))
            result.append(ids)
        return result

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Raises UnknownTokenError (a UserError and a KeyError) for a token that the vocabulary lacks."""
        return self._convert(self.vocab, tokens, "token")

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Raises UnknownTokenError (a UserError and a KeyError) for an id that the vocabulary lacks."""
        return self._convert(self.inv_vocab, ids, "id")

    def _convert(self, table, items, kind):
        try:
            return [table[item] for item in items]
        except KeyError as error:
            missing = f"{self.vocab_file}: no {kind} {error.args[0]!r} in this vocabulary of {len(self.vocab)} tokens"
            raise UnknownTokenError(f"{missing}; take the vocabulary that belongs to the model") from None

    def _special(self, token):
        if token not in self.vocab:
            raise UserError(f"{self.vocab_file}: the special token {token} is missing; {self._instead_of(token)}")
        return self.vocab[token]

    def _instead_of(self, token):
        """What can be done about a special token that is missing: a model has no row for a line that is added."""
        bare = token.strip("[]").lower()
        alike = [name for name in self.vocab if name.lower() in (bare, f"<{bare}>", f"[{bare}]")]
        found = alike or [name for name in self.vocab if name.startswith("[unused")]
        if found:
            return f"rename {found[0]!r} to it there, or give the vocab.txt that came with the model"
        return (
            "give the vocab.txt that came with the model: no token here could be renamed to it, and a line that is "
            "added has no row in the model's word embedding"
        )

    pad_id = property(lambda self: self._special("[PAD]"), doc="Id of [PAD]. A missing special token is a UserError.")
    cls_id = property(lambda self: self._special("[CLS]"), doc="Id of [CLS].")
    sep_id = property(lambda self: self._special("[SEP]"), doc="Id of [SEP].")
    mask_id = property(lambda self: self._special("[MASK]"), doc="Id of [MASK].")
    unk_id = property(lambda self: self._special("[UNK]"), doc="Id of [UNK].")

    def _content(self):
        added = {token: facts.changes() for token, facts in sorted(self.added_tokens.tokens.items())}
        vocab = list(self.vocab.items())
        return [type(self).__name__, self.do_lower_case, self.for_cn, vocab, *([added] if added else [])]

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of what decides the ids: class, flags, vocabulary, added tokens (and sentencepiece model)."""
        return hashlib.sha256(json.dumps(self._content()).encode()).hexdigest()


class FullTokenizer(_Tokenizer):
    """BasicTokenizer, then WordpieceTokenizer: what the released ERNIE models were trained with."""

    _transient = ("_ids", "basic_tokenizer", "wordpiece_tokenizer")

    def _prepare(self):
        super()._prepare()
        self.basic_tokenizer = BasicTokenizer(self.do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(self._word_pieces(), self.unk_token)

    def _tokenize(self, text):
        pieces = self.wordpiece_tokenizer.pieces
        return [piece for word in self.basic_tokenizer.tokenize(text) for piece in pieces(word)]

    def _offsets(self, text):
        pieces = self.wordpiece_tokenizer.pieces_with_offsets
        return [piece for found in self.basic_tokenizer.tokenize_with_offsets(text) for piece in pieces(*found)]

    def _words(self, text):
        """Parts of `text` that can be cut one by one: at white space, CJK characters and punctuation."""
        if not text.isprintable():
            text = _SEPARATING_CONTROLS.sub("", text)
        if text.isascii() or "\u03a3" in text:  # a capital sigma is lower-cased by its neighbours, punctuation too
            return text.split()
        return patterns().pieces.findall(text)


class CharTokenizer(_Tokenizer):
    """Word pieces of the blank-separated words, lower-cased; punctuation and CJK stay inside them, as in 2019.

    Accents stay and nothing is cleaned. The 2019 class lower-cased always; here do_lower_case=False is honoured.
    """

    _transient = ("_ids", "wordpiece_tokenizer")

    def _prepare(self):
        super()._prepare()
        self.wordpiece_tokenizer = WordpieceTokenizer(self._word_pieces(), self.unk_token)

    def _tokenize(self, text):
        return self.wordpiece_tokenizer.tokenize(lower(text) if self.do_lower_case else text)

    def _offsets(self, text):
        found = []
        for match in re.finditer(r"\S+", text):
            word = match.group()
            places: Sequence[int] = range(match.end() - match.start())
            if self.do_lower_case:
                word, places = lower_with_spans(word)
            spans = [(match.start() + place, match.start() + place + 1) for place in places]
            found += self.wordpiece_tokenizer.pieces_with_offsets(word, spans)
        return found

    def _words(self, text):
        return text.split()


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


class SentencepieceTokenizer(_Tokenizer):
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


class WholeWordTokenizer(_Tokenizer):
    """Whole words of the vocabulary, for students: BasicTokenizer's words, and runs of CJK characters cut by it.

    A word that the vocabulary lacks is [UNK]. CJK characters that stand together are cut from the left into the longest
    words that the vocabulary holds, so text may come with blanks between its words or without; `for_cn` therefore does
    nothing here.
    """

    LONGEST = 16  # characters of a CJK word; dictionaries hold longer entries, but text hardly ever does
    _transient = ("_ids", "basic_tokenizer", "_runs", "_longest")

    def __init__(self, vocab_file: str | os.PathLike[str], do_lower_case: bool = True, for_cn: bool = False) -> None:
        super().__init__(vocab_file, do_lower_case, for_cn=False)

    def _prepare(self):
        super()._prepare()
        self.basic_tokenizer = BasicTokenizer(self.do_lower_case)
        self._runs = re.compile(f"{patterns().cjk.pattern}+|{patterns().pieces.pattern}")
        words = (len(word) for word in self.vocab if char_kind(word[:1]) == "cjk")
        self._longest = min(max(words, default=1), self.LONGEST)

    def _tokenize(self, text):
        return [token for token, _, _ in self._offsets(text)]

    def _offsets(self, text):
        found = []
        for match in self._runs.finditer(text):
            part, at = match.group(), match.start()
            if char_kind(part[0]) == "cjk":
                found += self._cut(part, at)
                continue
            for word, spans in self.basic_tokenizer.tokenize_with_offsets(part):
                token = word if word in self.vocab else self.unk_token
                found.append((token, at + spans[0][0], at + spans[-1][1]))
        return found

    def _cut(self, run, at):
        """The words of a run of CJK characters, with their places."""
        found, begin = [], 0
        while begin < len(run):
            ends = range(min(begin + self._longest, len(run)), begin, -1)
            end = next((end for end in ends if run[begin:end] in self.vocab), None)
            token = self.unk_token if end is None else run[begin:end]
            end = begin + 1 if end is None else end
            found.append((token, at + begin, at + end))
            begin = end
        return found

    def _words(self, text):
        return self._runs.findall(text)


TOKENIZERS = {
    "FullTokenizer": FullTokenizer,
    "CharTokenizer": CharTokenizer,
    "SentencepieceTokenizer": SentencepieceTokenizer,
    "WordsegTokenizer": WordsegTokenizer,
    "WSSPTokenizer": WSSPTokenizer,
    "WholeWordTokenizer": WholeWordTokenizer,
}


def build_tokenizer(
    name: str,
    vocab_path: str | os.PathLike[str],
    do_lower_case: bool = True,
    for_cn: bool = True,
    sp_model: str | os.PathLike[str] | None = None,
) -> _Tokenizer:
    """The tokenizer that `--tokenizer` names, its special tokens checked.

    `for_cn`, on by default as in 2019, drops blanks (see `clean_text_for_cn`): pass False for English, for tagging and
    for reading comprehension. `sp_model` is for the three sentencepiece tokenizers.

    Raises:
        UserError: an unknown name; a vocabulary or model that cannot be read or lacks [PAD], [CLS], [SEP] or [UNK].
    """
    if name not in TOKENIZERS:
        raise UserError(f"--tokenizer {name}: unknown; choose one of {', '.join(TOKENIZERS)}")
    options = {"sp_model": sp_model} if issubclass(TOKENIZERS[name], SentencepieceTokenizer) else {}
    tokenizer = TOKENIZERS[name](vocab_path, do_lower_case, for_cn=for_cn, **options)
    for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]"):
        tokenizer._special(token)
    return tokenizer
