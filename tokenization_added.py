"""Added tokens: entries of a vocabulary that are read as one piece wherever they stand in a text.

    added = AddedTokens.read("model/vocab.txt")        # those of model/added_tokens.json; none without that file
    added.cut("see <e1> here")                         # [("see ", 0, None), ("<e1>", 4, "<e1>"), (" here", 8, None)]

Hugging Face's tokenizers have them ("<e1>", a product's name, "[ENT]"); `python -m ernie.convert` writes the file
beside the vocabulary. It holds token -> id, as Hugging Face's own ``added_tokens.json``, or token -> object with ``id``
and some of ``AddedToken``'s other fields. The five special tokens are none of them: in a text they are cut, as in 2019.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from propeller.encoding import in_place
from propeller.errors import UserError
from propeller.json_file import read_json
from tokenization_basic import clean_text_for_cn, lower, patterns

ADDED_TOKENS = "added_tokens.json"  # its name beside a vocabulary, in checkpoints and bundles too
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class AddedToken:
    """One of them, with Hugging Face's names.

    Attributes:
        id: its number in the vocabulary, so its row in the word embedding.
        normalized: whether a lower-casing tokenizer finds it whatever its case and accents in the text.
        single_word: whether it is found only where no letter or digit touches it.
        lstrip, rstrip: whether it swallows the blanks at a side, which become no tokens here anyway.
        special: whether Hugging Face leaves it out of decoded text; it has no effect here.
    """

    id: int
    normalized: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    special: bool = False

    def flags(self) -> dict[str, bool]:
        """All of it but the id."""
        return {name: value for name, value in asdict(self).items() if name != "id"}

    def changes(self) -> dict[str, Any]:
        """The id, and what differs from the defaults."""
        return {
            name: value for name, value in asdict(self).items() if name == "id" or value != getattr(type(self), name)
        }


def parse_added(token: str, value: Any, where: str | os.PathLike[str]) -> AddedToken:
    """An AddedToken of a number, its id, or of an object with ``id``; other keys than its fields are passed over.

    Args:
        token: for messages.
        value: what a JSON file holds of it.
        where: the file, for messages.

    Raises:
        UserError: neither of the two, or a field of another type.
    """
    known = {entry.name for entry in fields(AddedToken)}
    values = {"id": value} if not isinstance(value, Mapping) else {name: value[name] for name in known & value.keys()}
    number = values.get("id")
    flags = [flag for name, flag in values.items() if name != "id"]
    if type(number) is not int or number < 0 or not all(isinstance(flag, bool) for flag in flags):
        raise UserError(f"{where}: {token!r} is {json.dumps(value)}: make it the token's id, a whole number from 0 on")
    return AddedToken(**values)


class AddedTokens:
    """The added tokens of a vocabulary; false where there are none to look for.

    Args:
        tokens: token -> AddedToken.
        source: their file, or None.

    Attributes:
        tokens, source: as given.
    """

    def __init__(self, tokens: Mapping[str, AddedToken], source: str | None = None) -> None:
        self.tokens, self.source = dict(tokens), source
        self._exact: re.Pattern[str] | None = None
        self._folded: re.Pattern[str] | None = None
        self._of_folded: dict[str, str] = {}
        self._of_exact: dict[str, str] = {}

    @classmethod
    def read(cls, vocab_file: str | os.PathLike[str]) -> AddedTokens:
        """Those of the ``added_tokens.json`` beside a vocabulary; none where there is no such file.

        Raises:
            UserError: the file cannot be read, or holds something else.
        """
        path = Path(vocab_file).parent / ADDED_TOKENS
        if not path.is_file():
            return cls({})
        copy = "copy it again from its source"
        values = read_json(path, absent=copy, remedy=copy, encoded=in_place)
        if not isinstance(values, dict):
            raise UserError(f"{path}: holds no object of tokens and ids: copy it again from its source")
        return cls({token: parse_added(token, value, path) for token, value in values.items()}, str(path))

    def __bool__(self) -> bool:
        return self._exact is not None or self._folded is not None

    def join(self, vocab: dict[str, int], vocab_file: str | os.PathLike[str]) -> None:
        """Add to a vocabulary those that it lacks.

        Raises:
            UserError: one has another id in the vocabulary, or the id of another token.
        """
        used = {number: token for token, number in vocab.items()}
        for token, facts in self.tokens.items():
            if vocab.get(token, facts.id) != facts.id:
                told = f"{vocab_file} gives it {vocab[token]}"
            elif used.get(facts.id, token) != token:
                told = f"{vocab_file} has {used[facts.id]!r} there"
            else:
                vocab[token], used[facts.id] = facts.id, token
                continue
            raise UserError(
                f"{self.source}: {token!r} has the id {facts.id}, {told}: correct the id or remove the token"
            )

    def prepare(self, do_lower_case: bool, for_cn: bool) -> None:
        """Make ready for texts that are read with these flags, see ``tokenization.build_tokenizer``."""
        exact, folded = {}, {}
        for token in self.tokens.keys() - {*SPECIAL_TOKENS}:
            written = clean_text_for_cn(token) if for_cn else token
            if do_lower_case and self.tokens[token].normalized:
                folded[_fold(written)[0]] = token
            else:
                exact[written] = token
        self._of_exact, self._of_folded = exact, folded
        self._exact, self._folded = self._pattern(exact), self._pattern(folded)

    def _pattern(self, names):
        """Finds the longest of the names at each place, from left to right."""
        written = sorted((name for name in names if name.strip()), key=len, reverse=True)
        parts = [
            rf"(?<!\w){re.escape(name)}(?!\w)" if self.tokens[names[name]].single_word else re.escape(name)
            for name in written
        ]
        return re.compile("|".join(parts)) if parts else None

    def cut(self, text: str) -> list[tuple[str, int, str | None]]:
        """The parts of a text: (characters, where they start in it, the added token or None), in their order."""
        parts: list[tuple[str, int, str | None]] = [(text, 0, None)]
        if self._exact is not None:
            found = [(*match.span(), self._of_exact[match.group()]) for match in self._exact.finditer(text)]
            parts = _split(text, 0, found)
        if self._folded is None:
            return parts
        result: list[tuple[str, int, str | None]] = []
        for part, start, token in parts:
            result += [(part, start, token)] if token is not None else _split(part, start, self._find_folded(part))
        return result

    def _find_folded(self, text):
        folded, places = _fold(text)
        found, done = [], 0
        for match in self._folded.finditer(folded):
            last = match.end()
            after = places[last] if last < len(places) else len(text)  # marks that were folded away belong to it
            begin, end = places[match.start()], max(places[last - 1] + 1, after)
            if begin < done:  # one character folded to several, of which the one before took some
                continue
            done = end
            found.append((begin, end, self._of_folded[match.group()]))
        return found


def _split(text, offset, found):
    """The parts between and at the places found, each moved on by the offset; no empty ones."""
    parts, at = [], 0
    for begin, end, token in found:
        parts += [(text[at:begin], offset + at, None), (text[begin:end], offset + begin, token)]
        at = end
    parts.append((text[at:], offset + at, None))
    return [part for part in parts if part[0]]


def _fold(text):
    """A text lower-cased and without accents, and for each of its characters the place it came from."""
    if text.isascii():
        return text.lower(), range(len(text))
    chars, places = [], []
    for place, char in enumerate(text):
        for one in patterns().marks.sub("", unicodedata.normalize("NFD", lower(char))):
            chars.append(one)
            places.append(place)
    return "".join(chars), places
