"""Lists of explicit discourse connectives, the classes of discourse relation.

    python -m pretrain.connectives config/connectives_en.json --stats OUT/discourse_relation/stats.json --least 500 \\
        >connectives.json

writes the list without those connectives that a build found less often than that, since every class of a head needs
instances. Then build again with --connectives connectives.json. A list is JSON:

    {"words": [3, 32], "connectives": [
      {"connective": "instead", "sense": "Expansion.Substitution", "place": "both", "comma": false,
       "forms": ["rather"], "not_before": ["of"]}]}

    words        the fewest and the most words, marks among them, that each of two joined texts has
    connective   the class's name, and how it is written; classes are numbered in the list's order
    sense        the relation it stands for most often, in the terms of the Penn Discourse Treebank (Prasad et al. 2008)
                 for English and the Chinese Discourse Treebank (Zhou and Xue 2015) for Chinese; nothing depends on it
    place        "sentence": it opens a sentence and joins it to the one before; "clause": it stands behind a comma and
                 joins two parts of a sentence; "both"
    comma        true: it counts only with a comma behind it, where it is ambiguous otherwise ("However hard ...");
                 false (as without the field): with or without
    forms        other ways of writing it, the same class
    not_before   words that make it another one where they follow ("instead of", "so far")

`words` is [3, 32] and all fields but `connective` and `place` may be left out. Case does not matter.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

from pretrain.stop_words import CONFIG, language_of
from propeller.errors import UserError, exit_on_user_error

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


def path_for(plan) -> Path:
    """The list of a ``pretrain.builder.Plan``. Raises UserError: neither plan nor segmenter tell which."""
    if plan.connectives:
        return Path(plan.connectives)
    language = language_of(plan)
    if language is None:
        raise UserError(
            f"--connectives: needed with --segmenter {plan.segmenter}; give {CONFIG}/connectives_en.json, "
            "connectives_zh.json or a list of your own"
        )
    return CONFIG / f"connectives_{language}.json"


def _load(path):
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the path of a list of connectives") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error}); correct it, config/connectives_en.json shows the form") from error
    entries = content.get("connectives") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(entries) < 2:
        raise UserError(
            f'{path}: "connectives" is to be a list of two or more; config/connectives_en.json shows the form'
        )
    return content


def read_connectives(path) -> Connectives:
    """A list. Raises UserError: file, entry, remedy."""
    content = _load(path)
    words = content.get("words", list(WORDS))
    whole = isinstance(words, list) and len(words) == 2 and all(type(number) is int for number in words)
    if not whole or not 0 < words[0] <= words[1]:
        raise UserError(f'{path}: "words" is {words!r}; give the fewest and the most words of a text, as [3, 32]')
    entries, taken = [], {}
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


def shortened(path, stats, least: int) -> dict:
    """The content of the list without the connectives that stats.json of a build counts less often.

    Raises UserError: a file is not readable, the statistics are of another list, fewer than two are left.
    """
    names = [entry.name for entry in read_connectives(path).entries]
    try:
        counts = json.loads(Path(stats).read_text(encoding="utf-8"))["classes"]
    except OSError as error:
        raise UserError(f"{stats}: {error.strerror}; give stats.json of a build with discourse_relation") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{stats}: counts no classes; give stats.json of a build with discourse_relation") from error
    if list(counts) != names:
        raise UserError(f"{stats}: was built with other connectives than those of {path}; give that list")
    content = _load(path)
    content["connectives"] = [entry for entry in content["connectives"] if counts[entry["connective"]] >= least]
    if len(content["connectives"]) < 2:
        raise UserError(
            f"{stats}: fewer than two connectives have {least} instances; build more text, or lower --least"
        )
    return content


def main(argv=None):
    """Print the shorter list; on standard error how many are in it."""
    parser = argparse.ArgumentParser(
        prog="python -m pretrain.connectives", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("connectives", help="the list that the build was made with")
    parser.add_argument("--stats", required=True, help="stats.json of discourse_relation")
    parser.add_argument("--least", type=int, default=100, help="instances that a connective needs (default 100)")
    args = parser.parse_args(argv)
    content = shortened(args.connectives, args.stats, args.least)
    rows = content.pop("connectives")
    head = "".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n " for key, value in content.items())
    listed = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    print(f'{{{head}"connectives": [\n{listed}\n ]}}')
    print(f'{len(rows)} connectives: "head": {{"classes": {len(rows)}}} in the task list', file=sys.stderr)


if __name__ == "__main__":
    exit_on_user_error(main)
