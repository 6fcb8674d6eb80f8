"""What the tokenizers of `tokenization` share: word pieces, the vocabulary, ids by a cache, offsets, added tokens."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from tokenizers.models import WordPiece

from propeller.errors import UserError
from tokenization_added import AddedTokens
from tokenization_basic import UnknownTokenError, clean_text_for_cn, convert_to_unicode, load_vocab

CACHED_WORDS = 1 << 18  # words whose ids are remembered: about 60 MB when full; it is then emptied and fills again
CACHED_WORD_LENGTH = 64  # longer words are rare and would make the cache's size depend on the text


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


class BaseTokenizer:
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

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._transient}

    def __setstate__(self, state: dict[str, Any]) -> None:
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
