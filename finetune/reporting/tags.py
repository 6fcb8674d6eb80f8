"""The report of a tagger: by type of entity, which types are taken for which, sentences with wrong entities."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from finetune.prediction.run import Progress
from finetune.reporting.classes import never_predicted, suspects
from finetune.reporting.parts import Matrix, Report, Table, by_confidence, count_texts, text_tables
from finetune.reporting.rows import ShownRows
from finetune.tagging.predictions import sentence_outputs
from finetune.tagging.task import token_tags
from reader.tagging.sentence import BLANK, split_tokens

if TYPE_CHECKING:
    from finetune.prediction.model import InferenceModel
    from reader.tagging.reader import TaggingReader

NONE = "(none)"


class Sentence(NamedTuple):
    """tokens; given, guessed: classes; chances: float32 [tokens, classes] of the first piece, NaN for a token that the
    model did not see."""

    tokens: list[str]
    given: list[int]
    guessed: list[int]
    chances: np.ndarray


class Counts:
    """Entities of each type: given, predicted, right; and which were taken for which, found at the same place."""

    def __init__(self) -> None:
        self.given: Counter[str] = Counter()
        self.guessed: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.moved: Counter[str] = Counter()  # of the right type, with other borders

    def add(self, given: set[tuple[str, int, int]], guessed: set[tuple[str, int, int]]) -> None:
        """Count the entities (type, first, last) of a sentence."""
        self.given.update(kind for kind, _, _ in given)
        self.guessed.update(kind for kind, _, _ in guessed)
        self.right.update(kind for kind, _, _ in given & guessed)
        kinds = {(first, last): kind for kind, first, last in guessed}
        known = {(first, last): kind for kind, first, last in given}
        for place, kind in known.items():
            self.pairs[kind, kinds.get(place, NONE)] += 1
        for place, kind in kinds.items():
            if place not in known:
                self.pairs[NONE, kind] += 1
        for kind, first, last in given - guessed:
            self.moved[kind] += any(kind == other and first <= end and begin <= last for other, begin, end in guessed)


def report(model: InferenceModel, reader: TaggingReader, path: str) -> Report:
    """The report of a labelled file, see ``finetune.reporting.classes.report``."""
    tags, counts = reader.tags, Counts()
    sentences = list(_sentences(model, reader))
    spans = [tuple(set(tags.entities(classes)) for classes in (each.given, each.guessed)) for each in sentences]
    for given, guessed in spans:
        counts.add(given, guessed)
    made = Report(model.task.name, path)
    table, made.facts = type_table(counts)
    kinds = [row[0] for row in table.rows[:-2]]
    order = [*kinds, NONE]
    pairs = np.array([[counts.pairs[one, other] for other in order] for one in order], np.int64)
    made.matrix = Matrix(order, pairs, NONE)
    right = np.array([float(given == guessed) for given, guessed in spans])
    facts, tables = text_tables(count_texts(reader), right, reader.max_seq_len, "sentences right")
    total = sum(len(each.given) for each in sentences)
    agreed = sum(one == other for each in sentences for one, other in zip(each.given, each.guessed))
    made.facts.update(
        facts, sentences=len(sentences), tag_accuracy=agreed / max(total, 1), wrong=int((right == 0).sum())
    )
    made.tables = [table, *tables]
    rows = ShownRows(reader.table, ())

    def entry(number, confidence):
        given, guessed = spans[number]
        tokens = sentences[number].tokens
        missed, extra = _shown(tokens, given - guessed), _shown(tokens, guessed - given)
        return number, [missed, extra, confidence, " ".join(tokens)]

    wrong = np.flatnonzero(right == 0).tolist()
    sure = [_surest(sentences[number]) for number in wrong]
    header = ["missed", "predicted instead", "confidence", "text"]
    made.wrong = rows.table(
        "Wrong sentences",
        "Sentences whose entities the model does not find as they are labelled, the surest first.",
        header,
        [entry(wrong[place], sure[place]) for place in by_confidence(sure)],
    )
    gaps = _gaps(sentences)
    odd = [number for number in wrong if gaps[number] > 0]
    made.suspects = rows.table(
        "Likely label errors",
        "Sentences with a token for which the model is as sure of another tag as it is, on average, for the tokens "
        "labelled with that tag (confident learning, Northcutt et al. 2021); difference: by how much it is surer of "
        "that tag than of the label. Use sentences that the model was not trained on.",
        ["missed", "predicted instead", "difference", "text"],
        [entry(odd[place], gaps[odd[place]]) for place in by_confidence([gaps[number] for number in odd])],
    )
    made.facts["suspects"] = len(odd)
    return made


def _sentences(model, reader):
    """Every sentence with its tags."""
    tags, table = reader.tags, reader.table
    place, separator = table.columns.index("label"), reader.encoder.separator
    progress = Progress(model, reader.num_examples, "sentences", False)
    outputs = sentence_outputs(reader, progress, model.task.answer_outputs)
    for found, sentence, (_, record) in zip(outputs, reader.sentences(), table.records()):
        probs, classes = model.task.sentence(found)
        names = split_tokens(table.layout.fields(record)[place], separator)
        given = [tags.mapping[name.strip(BLANK)] for name in names]
        guessed, _ = token_tags(tags, sentence.pieces, probs, classes)
        chances = np.full((len(given), len(tags.names)), np.nan, np.float32)
        at = 0
        for number, count in enumerate(sentence.pieces):
            if count and at < len(probs):
                chances[number] = probs[at]
            at += count
        yield Sentence(sentence.tokens, given, guessed, chances)


def type_table(counts: Counts) -> tuple[Table, dict[str, Any]]:
    """Precision, recall, F1 and number of entities by type, as seqeval has them; and the same as facts."""
    kinds = sorted({*counts.given, *counts.guessed})
    rows: list[list[Any]] = []
    for kind in kinds:
        scores = _scores(counts.right[kind], counts.guessed[kind], counts.given[kind])
        rows.append([kind, *scores, counts.given[kind], counts.guessed[kind], counts.moved[kind]])
    sums = [sum(each.values()) for each in (counts.right, counts.guessed, counts.given)]
    every = _scores(*sums)
    macro = [float(np.mean([row[place] for row in rows])) if rows else 0.0 for place in (1, 2, 3)]
    last = [sums[2], sums[1], sum(counts.moved.values())]
    rows += [["mean of types", *macro, *last], ["all entities", *every, *last]]
    facts = {
        "precision": every[0], "recall": every[1], "f1": every[2], "entities": sums[2],
        "types": {row[0]: dict(zip(("precision", "recall", "f1", "entities"), row[1:5])) for row in rows[:-2]},
    }  # fmt: skip
    header = ["type", "precision", "recall", "f1", "entities", "predicted", "other borders"]
    about = (
        "An entity is right where its type and both borders are; other borders: of the right type, but overlapping. "
        "Entities are of tokens, as finetune.score counts them; the evaluation of a run counts word pieces, as in 2019."
    )
    support, chosen = (np.array([counted[kind] for kind in kinds]) for counted in (counts.given, counts.guessed))
    about += never_predicted(kinds, support, chosen, "entities")
    return Table("Entities by type", about, header, rows), facts


def _scores(right, guessed, given):
    precision, recall = right / max(guessed, 1), right / max(given, 1)
    both = precision + recall
    return [precision, recall, 2 * precision * recall / both if both else 0.0]


def _shown(tokens, entities):
    return "; ".join(f"{kind}: {' '.join(tokens[first : last + 1])}" for kind, first, last in sorted(
        entities, key=lambda each: each[1]))  # fmt: skip


def _surest(sentence):
    """The highest probability that a wrong tag has."""
    wrong = [float(sentence.chances[place, other]) for place, (one, other) in
             enumerate(zip(sentence.given, sentence.guessed)) if one != other]  # fmt: skip
    wrong = [chance for chance in wrong if np.isfinite(chance)]
    return max(wrong, default=0.0)


def _gaps(sentences):
    """By how much another tag is likelier than the given one, at the worst token that is suspect; 0: at none."""
    chances = np.concatenate([each.chances for each in sentences])
    given, guessed = (
        np.concatenate([np.asarray(tags, np.int64) for tags in column])
        for column in zip(*((each.given, each.guessed) for each in sentences))
    )
    seen = np.isfinite(chances).all(axis=1)
    other = np.full(len(given), -1)
    if seen.any():
        other[seen] = suspects(chances[seen], given[seen], guessed[seen])
    gap = np.where(other >= 0, chances[np.arange(len(given)), other] - chances[np.arange(len(given)), given], 0.0)
    ends = np.cumsum([len(each.given) for each in sentences])
    return [float(part.max(initial=0.0)) for part in np.split(gap, ends[:-1])]
