"""Exports of annotation tools, texts with entities by their places: sentences of tokens and tags out of them.

    for line, tokens, tags, problem in sentences(Path("project.json")): ...

label-studio (JSON and JSON-MIN)    [{"data": {"text": "Anna ..."}, "annotations": [{"result": [{"value": {"start": 0,
                                    "end": 4, "labels": ["PER"]}, ...}]}]}, ...]
doccano (JSON lines)                {"text": "Anna ...", "label": [[0, 4, "PER"]]}, or entities with start_offset

Tokens are words, punctuation marks and CJK characters, as prediction of running text has them; a word is cut where an
entity begins or ends in it. The exports of both tools in CoNLL's form are tagged text like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from propeller.errors import UserError
from reader.tables.json_table import objects
from reader.tagging.sentence import Sentence
from script.conversion import Refused
from script.tagged_text import JOINT, OUTSIDE, TaggedSentence

MARK = b"\xef\xbb\xbf"
LISTS = ("label", "labels", "entities")


class Entity(NamedTuple):
    """start, end: characters of the text, the end exclusive; kind: its label; text: as the tool has it, or None."""

    start: int
    end: int
    kind: str
    text: str | None = None


def is_export(path: Path) -> bool:
    """Whether a file is JSON: no line of tagged text begins with a brace or a bracket and a quote or brace."""
    with open(path, "rb") as file:
        head = file.read(1 << 12).removeprefix(MARK).lstrip()
    return head[:1] in (b"{", b"[") and head[1:].lstrip()[:1] in (b'"', b"{", b"]")


def sentences(path: Path) -> Iterator[TaggedSentence]:
    """The texts of an export, each with the line on which it begins.

    Raises:
        UserError: it is not JSON, or a text is not annotated with entities.
    """
    for line, record in _records(path):
        try:
            text, entities = text_and_entities(record)
        except LookupError as error:
            raise UserError(
                f"{path}, line {line}: {error.args[0]}; give an export of sequence labelling: label-studio's JSON or "
                "JSON-MIN, doccano's JSONL"
            ) from None
        if text is None:
            yield TaggedSentence(line, [], [], Refused("it is not annotated"))
            continue
        tokens, tags, problem = tagged(text, entities)
        yield TaggedSentence(line, tokens, tags, problem)


def _records(path):
    """(line, object) of JSON lines or of an array."""
    with open(path, "rb") as file:
        head = file.read(1 << 12).removeprefix(MARK).lstrip()
        file.seek(0)
        if head[:1] == b"[":
            places = list(objects(file, str(path), hashlib.sha256()))
            for begin, end, line in places:
                file.seek(begin)
                yield line, _parsed(path, line, file.read(end - begin))
            return
        for line, content in enumerate(file, 1):
            if content.strip():
                yield line, _parsed(path, line, content.removeprefix(MARK))


def _parsed(path, line, content):
    try:
        record = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {line}: not JSON in UTF-8 ({error}); export it again") from None
    if not isinstance(record, dict):
        raise UserError(f"{path}, line {line}: not an object; give an export of label-studio or doccano")
    return record


def text_and_entities(record: dict[str, Any]) -> tuple[str | None, list[Entity]]:
    """The text of a record and its entities; (None, []) where nobody annotated it.

    Raises:
        LookupError: it has neither of the forms.
    """
    for key in ("annotations", "completions"):
        if key in record and isinstance(record.get("data"), dict):
            done = [each for each in record[key] or [] if not each.get("was_cancelled")]
            found = [_of_value(each["value"]) for each in (done[0].get("result") or [] if done else [])
                     if "labels" in (each.get("value") or {})]  # fmt: skip
            return (_text(record["data"], found) if done else None), found
    for key, value in record.items():
        if isinstance(value, list) and (key in LISTS or (value and _is_region(value[0]))):
            found = [_entity(each) for each in value]
            return _text(record, found), found
    return _text(record, []), []


def _is_region(value):
    return isinstance(value, dict) and {"start", "end", "labels"} <= set(value)


def _entity(value):
    if isinstance(value, list) and len(value) == 3:
        return Entity(int(value[0]), int(value[1]), str(value[2]))
    if isinstance(value, dict) and {"start_offset", "end_offset", "label"} <= set(value):
        return Entity(int(value["start_offset"]), int(value["end_offset"]), str(value["label"]))
    if _is_region(value):
        return _of_value(value)
    raise LookupError(f"{str(value)[:40]!r} is not an entity with a start, an end and a label")


def _of_value(value):
    kinds = value["labels"]
    if "start" not in value or not isinstance(value["start"], int):
        raise LookupError("a label has no place in a text")
    return Entity(value["start"], value["end"], JOINT.join(map(str, kinds)), value.get("text"))


def _text(fields, entities):
    """The field that is the text: text, or the one in which the entities are."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if "text" in texts or len(texts) == 1:
        return texts.get("text", next(iter(texts.values())))
    fitting = [value for value in texts.values() if entities and all(
        each.text is not None and each.text in value for each in entities)]  # fmt: skip
    if len(fitting) == 1:
        return fitting[0]
    raise LookupError(f"no field 'text' (there: {', '.join(map(str, fields))})")


def tagged(text: str, entities: list[Entity]) -> tuple[list[str], list[str], Refused | None]:
    """Tokens and BIO tags of a text, and why it is refused, or None."""
    spans = []
    for entity in entities:
        placed = _placed(text, entity)
        if placed is None:
            return [], [], Refused("an entity is not where its text stands")
        if JOINT in entity.kind:
            return [], [], Refused("an entity has several labels")
        spans.append(placed)
    spans.sort()
    if any(one.end > other.start for one, other in zip(spans, spans[1:])):
        return [], [], Refused("entities overlap")
    borders = sorted({place for span in spans for place in (span.start, span.end)})
    tokens: list[str] = []
    tags: list[str] = []
    at, last = 0, -1
    for begin, token in _cut(text, borders):
        while at < len(spans) and spans[at].end <= begin:
            at += 1
        inside = at < len(spans) and spans[at].start <= begin
        goes_on = inside and bool(tags) and last >= spans[at].start
        tags.append(f"{'I' if goes_on else 'B'}-{spans[at].kind}" if inside else OUTSIDE)
        tokens.append(token)
        last = begin
    if sum(tag.startswith("B-") for tag in tags) < len(spans):
        return [], [], Refused("an entity has no token")
    return tokens, tags, None if tokens else Refused("it has no token")


def _placed(text, entity):
    """The entity without blanks at its ends; label-studio may count in units of UTF-16. None: it is elsewhere."""
    start, end = entity.start, entity.end
    if entity.text is not None and text[start:end] != entity.text:
        units = text.encode("utf-16-le")
        before, own = units[: 2 * start], units[2 * start : 2 * end]
        if own.decode("utf-16-le", "replace") != entity.text:
            return None
        start = len(before.decode("utf-16-le", "replace"))
        end = start + len(entity.text)
    if not 0 <= start < end <= len(text):
        return None
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return entity._replace(start=start, end=start + len(inner.strip()))


def _cut(text, borders):
    """(place, token) of the words of a text, cut at the borders."""
    words = Sentence.of_words(text, None)
    for begin, word in zip(words.begins, words.tokens):
        inner = [place for place in borders if begin < place < begin + len(word)]
        for one, other in zip([begin, *inner], [*inner, begin + len(word)]):
            yield one, text[one:other]
