"""Scores of tags: entities that two files have in common, whatever of the usual forms each is of.

text_a<TAB>tags (or label)      a header; tokens and tags separated by 0x02 or blanks; other columns are left out
text_a<TAB>tags<TAB>probabilities<TAB>entities              run_sequence_labeling.py's lines
{"tokens": [...], "tags": [...]}                            JSON lines; "labels" for "tags"
token tag                       a line per token, the tag last, blank lines between sentences, as CoNLL has it
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from finetune.metrics import f1_score
from finetune.scoring.rows import (
    Line,
    at,
    check_counts,
    columns_of,
    is_json_lines,
    read_json_lines,
    read_lines,
    read_table,
)
from propeller.errors import UserError
from reader.tagging.tags import TagSet
from reader.tsv import shorten

TAG_COLUMNS = ("tags", "label", "labels")
SEPARATOR = "\x02"
_DOCUMENT = "-DOCSTART-"


class TaggedSentence(NamedTuple):
    """A sentence: the line it begins on, its tokens, a tag for each."""

    line: int
    tokens: list[str]
    tags: list[str]


def read_tagged(path: str | os.PathLike[str], lines: Sequence[Line] | None = None) -> list[TaggedSentence]:
    """The sentences of a file, see the module.

    Raises:
        UserError: it has none of the forms, or a sentence has not a tag for each token.
    """
    lines = read_lines(path) if lines is None else lines
    if is_json_lines(lines):
        sentences = [_of_json(path, row) for row in read_json_lines(path, lines)]
    elif "text_a" in columns_of(lines):
        column = next((name for name in TAG_COLUMNS if name in columns_of(lines)), None)
        if column is None:
            raise UserError(f"{at(path, 1)}: no column of tags ({', '.join(TAG_COLUMNS)}): add one")
        cells = [(row.line, row.values["text_a"], row.values[column]) for row in read_table(path, lines)]
        sentences = _of_cells(cells)
    elif _is_legacy(lines[0].text):
        sentences = _of_cells([(line.number, *_legacy_cells(path, line)) for line in lines])
    else:
        sentences = _of_columns(path, lines)
    for sentence in sentences:
        if len(sentence.tokens) != len(sentence.tags):
            raise UserError(
                f"{at(path, sentence.line)}: {len(sentence.tokens)} tokens and {len(sentence.tags)} tags: give each "
                "token one"
            )
    return sentences


def _of_json(path, row):
    tokens = row.values.get("tokens")
    tags = next((row.values[key] for key in TAG_COLUMNS if isinstance(row.values.get(key), list)), None)
    for value in (tokens, tags):
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise UserError(f"{at(path, row.line)}: 'tokens' and 'tags' are not lists of texts: give both")
    return TaggedSentence(row.line, tokens, tags)


def _of_cells(cells):
    separator = SEPARATOR if any(SEPARATOR in text or SEPARATOR in tags for _, text, tags in cells) else None
    if separator:
        return [TaggedSentence(line, text.split(separator), tags.split(separator)) for line, text, tags in cells]
    return [TaggedSentence(line, text.split(), tags.split()) for line, text, tags in cells]


def _is_legacy(text):
    fields = text.split("\t")
    return len(fields) == 4 and fields[3].startswith("[") and fields[3].endswith("]")


def _legacy_cells(path, line):
    if not _is_legacy(line.text):
        raise UserError(f"{at(path, line.number)}: not text, tags, probabilities, entities as the lines before it")
    return line.text.split("\t")[:2]


def _of_columns(path, lines):
    sentences: list[TaggedSentence] = []
    open_sentence: TaggedSentence | None = None
    for line in lines:
        fields = line.text.split()
        if not fields or fields[0] == _DOCUMENT:
            open_sentence = None
            continue
        if len(fields) < 2:
            raise UserError(
                f"{at(path, line.number)}: {shorten(line.text)} is no token with a tag: give 'token tag' per line, or "
                "a header with text_a and tags"
            )
        if open_sentence is None:
            open_sentence = TaggedSentence(line.number, [], [])
            sentences.append(open_sentence)
        open_sentence.tokens.append(fields[0])
        open_sentence.tags.append(fields[-1])
    return sentences


def score_tags(
    predictions: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    scheme: str = "IOB",
    o_label: str = "O",
    label_map: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Precision, recall and F1 of entities, by type and place, and the share of right tags.

    Args:
        predictions, reference: the files; sentences go together by their order.
        scheme: how tags make entities, a key of ``reader.tagging.tags.SCHEMES``.
        o_label: the tag outside of entities.
        label_map: the tags that there are; without it all that occur.

    Returns:
        ``f1``, ``precision``, ``recall``, ``tag_acc``, ``sentences``, ``entities``.

    Raises:
        UserError: the files are not of the same sentences, or a tag is not of the scheme or the map.
    """
    found, wanted = read_tagged(predictions), read_tagged(reference)
    check_counts(predictions, [row.line for row in found], reference, [row.line for row in wanted])
    for path, sentences in ((reference, wanted), (predictions, found)):
        _check_tags(path, sentences, scheme, o_label, label_map)
    names = label_map or {}
    if not names:
        seen = {tag for sentence in [*found, *wanted] for tag in sentence.tags} | {o_label}
        names = {tag: number for number, tag in enumerate(sorted(seen))}
    tags = TagSet(names, scheme, o_label)
    inferred = labelled = correct = right = total = 0
    for guess, truth in zip(found, wanted):
        if guess.tokens != truth.tokens:
            raise UserError(
                f"{at(predictions, guess.line)}: other tokens ({shorten(' '.join(guess.tokens))}) than "
                f"{at(reference, truth.line)} ({shorten(' '.join(truth.tokens))}): give the predictions of that file"
            )
        entities = [set(tags.entities([names[tag] for tag in sentence.tags])) for sentence in (guess, truth)]
        inferred, labelled = inferred + len(entities[0]), labelled + len(entities[1])
        correct += len(entities[0] & entities[1])
        right += sum(one == other for one, other in zip(guess.tags, truth.tags))
        total += len(truth.tags)
    return {
        **f1_score(inferred, labelled, correct),
        "tag_acc": right / total if total else 0.0,
        "sentences": len(wanted),
        "entities": labelled,
    }


def _check_tags(path, sentences, scheme, o_label, label_map):
    """Name the line of a tag that the map lacks, or that is not of the scheme."""
    known: set[str] = set(label_map or ())
    for sentence in sentences:
        for tag in sentence.tags:
            if tag in known:
                continue
            if label_map:
                raise UserError(
                    f"{at(path, sentence.line)}: the tag {shorten(tag)} is not in the label map: correct it"
                )
            TagSet({o_label: 0, tag: 1} if tag != o_label else {o_label: 0}, scheme, o_label,
                   source=at(path, sentence.line))  # fmt: skip
            known.add(tag)
