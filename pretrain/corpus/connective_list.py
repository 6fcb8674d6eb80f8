"""Lists of explicit discourse connectives, the classes of discourse relation.

    words, entries = read_connectives("config/connectives_en.json")

A list is JSON:

    {"words": [3, 32], "connectives": [
      {"connective": "instead", "sense": "Expansion.Substitution", "place": "both", "comma": false,
       "forms": ["rather"], "not_before": ["of"]}]}

    words        the fewest and the most words, marks among them, that each of two joined texts has
    connective   the class's name, and how it is written; classes are numbered in the list's order
    sense        the relation it stands for most often, in the terms of the Penn Discourse Treebank (Prasad et al. 2008)
                 for English and the Chinese Discourse Treebank (Zhou and Xue 2015) for Chinese; nothing depends on it
    place        "sentence": it opens a sentence and joins it to the one before; "clause": it stands after a comma and
                 joins two parts of a sentence; "both"
    comma        true: it counts only with a comma after it, where it is ambiguous otherwise ("However hard ...");
                 false (as without the field): with or without
    forms        other ways of writing it, the same class
    not_before   words that make it another one where they follow ("instead of", "so far")

`words` is [3, 32] and all fields but `connective` and `place` may be left out. Case does not matter.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pretrain.corpus.stop_words import CONFIG, language_of
from propeller.errors import UserError
from propeller.json_file import read_json

if TYPE_CHECKING:  # builder.py imports this file
    from pretrain.corpus.builder import Plan

PLACES = ("sentence", "clause", "both")
TEXTS = ("forms", "not_before")
FIELDS = ("connective", "sense", "place", "comma", *TEXTS)
WORDS = (3, 32)  # Sileo et al. 2019


class Connective(NamedTuple):
    """See above; forms has `name` too."""

    name: str
    place: str
    comma: bool
    forms: tuple
    not_before: tuple


class Connectives(NamedTuple):
    """words: (fewest, most) of a text; entries: list of Connective, in the order of their classes."""

    words: tuple
    entries: list


def path_for(plan: Plan) -> Path:
    """The list of a ``pretrain.corpus.builder.Plan``. Raises UserError: neither plan nor segmenter tell which."""
    if plan.connectives:
        return Path(plan.connectives)
    language = language_of(plan)
    if language is None:
        raise UserError(
            f"--connectives: needed with --segmenter {plan.segmenter}; give {CONFIG}/connectives_en.json, "
            "connectives_zh.json or a list of your own"
        )
    return CONFIG / f"connectives_{language}.json"


def load(path: str | Path) -> dict:
    """The content of a list, with two entries or more. Raises UserError: file, remedy."""
    content = read_json(
        path,
        absent="give the path of a list of connectives",
        remedy="correct it, config/connectives_en.json shows the form",
    )
    entries = content.get("connectives") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(entries) < 2:
        raise UserError(
            f'{path}: "connectives" is to be a list of two or more; config/connectives_en.json shows the form'
        )
    return content


def read_connectives(path: str | Path) -> Connectives:
    """A list. Raises UserError: file, entry, remedy."""
    content = load(path)
    words = content.get("words", list(WORDS))
    whole = isinstance(words, list) and len(words) == 2 and all(type(number) is int for number in words)
    if not whole or not 0 < words[0] <= words[1]:
        raise UserError(f'{path}: "words" is {words!r}; give the fewest and the most words of a text, as [3, 32]')
    entries: list[Connective] = []
    taken: dict[str, int] = {}
    for number, entry in enumerate(content["connectives"], 1):
        found = _entry(f"{path}, connective {number}", entry)
        for form in found.forms:
            before = taken.setdefault(form.lower(), number)
            if before != number:
                raise UserError(f"{path}, connective {number}: {form!r} is in connective {before} too; leave one out")
        entries.append(found)
    return Connectives(tuple(words), entries)


def _entry(where, entry) -> Connective:
    if not isinstance(entry, dict):
        raise UserError(f'{where}: {entry!r} is no object; write {{"connective": ..., "place": ...}}')
    for name in entry:
        if name not in FIELDS:
            raise UserError(f"{where}: the field {name!r} is unknown; give {', '.join(FIELDS)}")
    name = entry.get("connective")
    if not isinstance(name, str) or not name.strip():
        raise UserError(f'{where}: "connective" is {name!r}; give its text')
    if entry.get("place", "both") not in PLACES:
        raise UserError(f'{where} ({name}): "place" is {entry["place"]!r}; give one of {", ".join(PLACES)}')
    if not isinstance(entry.get("comma", False), bool):
        raise UserError(f'{where} ({name}): "comma" is {entry["comma"]!r}; give true or false')
    lists = []
    for field in TEXTS:
        texts = entry.get(field, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError(f'{where} ({name}): "{field}" is {texts!r}; give a list of texts')
        lists.append(tuple(texts))
    return Connective(name, entry.get("place", "both"), entry.get("comma", False), (name, *lists[0]), lists[1])


def fingerprint(plan: Plan) -> str:
    """SHA-256 of the list of a plan. Raises UserError: it cannot be read."""
    path = path_for(plan)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"--connectives {path}: {error.strerror}; give the path of a file") from error
