"""Batch prediction of tags: what infer_sequence_labeling.py writes.

tsv     a header and a line a row, as run_sequence_labeling.py predicts: text_a as in the input, tags, probabilities (of
        each tag, a token each, parted as in the input), entities (JSON: text, start, end, type); with running text
        a column of the tokens behind text_a, parted by blanks as tags and probabilities are
jsonl   {"text": ..., "tokens": [...], "tags": [...], "probabilities": [...], "entities": [...]}
"""

from __future__ import annotations

import json
import logging
from typing import NamedTuple

import numpy as np

from finetune.predict_args import TaggingArgs
from finetune.prediction import AHEAD, Job, open_output
from finetune.sequence_label import (
    SequenceLabel,
    SequenceLabelArgs,
    find_entities,
    prediction_line,
    tag_set,
    token_tags,
)
from propeller.errors import UserError
from reader.batching import EncodedRows
from reader.ordered import WINDOW
from reader.pyreader import PyReader
from reader.running_text import RunningTextReader
from reader.tagging import Parts
from reader.task_reader import RowStream
from reader.tsv import where

log = logging.getLogger("ernie.finetune")


class TaggingJob(Job):
    """A tag for each token of a sentence, and the entities they make."""

    tasks = ("sequence_label",)
    flags = TaggingArgs
    task_flags = SequenceLabelArgs
    unit = "sentences"
    tokenized = True

    def check(self, args):
        super().check(args)
        self.tokenized = args.script.tokenized

    def open_reader(self, path, model, read):
        if self.tokenized:
            return super().open_reader(path, model, read)
        return RunningTextReader(
            path,
            model.tokenizer,
            tags=tag_set(read, model.label_map),
            labelled=False,
            windows=read.task.long_text == "window",
            **SequenceLabel.batching(read, training=False),
        )

    def write(self, model, reader, args, progress):
        """A line a sentence, as ``--output_format`` says."""
        tags, path, misplaced = reader.tags, reader.table.path, 0
        line_of = json_line if args.script.output_format == "jsonl" else tsv_line if self.tokenized else running_line
        with open_output(args.data.output) as file:
            if line_of is not json_line:
                tokens = [] if self.tokenized else ["tokens"]
                file.write("\t".join(["text_a", *tokens, "tags", "probabilities", "entities"]) + "\n")
            for number, (probs, sentence) in enumerate(zip(sentence_probs(reader, progress), reader.sentences())):
                if not sentence.tokens:
                    raise UserError(f"{where(path, number)}: text_a is empty; put its text there or remove the row")
                classes, chances = token_tags(tags, sentence.pieces, probs[1:-1])
                misplaced += tags.misplaced(classes)
                file.write(line_of(tags, sentence, classes, chances))
        if misplaced:
            log.info("%d tags stand where %s has none: as predicted; an entity begins where its tags do", misplaced,
                     tags.scheme)  # fmt: skip


def tsv_line(tags, sentence, classes, chances):
    """The line of a row of tokens."""
    return prediction_line(tags, sentence, classes, chances)


def running_line(tags, sentence, classes, chances):
    """The line of a row of running text."""
    text, rest = prediction_line(tags, sentence, classes, chances).split("\t", 1)
    return f"{text}\t{sentence.separator.join(sentence.tokens)}\t{rest}"


def json_line(tags, sentence, classes, chances):
    """The JSON line of a row."""
    row = {
        "text": sentence.original,
        "tokens": sentence.tokens,
        "tags": [tags.names[number] for number in classes],
        "probabilities": [round(chance, 5) for chance in chances],
        "entities": find_entities(tags, sentence, classes),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


class PartsBatch(NamedTuple):
    """A batch of sentences or parts of them. index: which parts of the window they are; window: its Parts; last:
    whether it is the window's last batch."""

    batch: dict
    index: np.ndarray
    window: Parts
    last: bool


def part_batches(reader, size=WINDOW):
    """Batches of like length from a TaggingReader, its windows over long sentences among them.

    As many sentences as make ``size`` batches are parted together, sorted by length and cut into batches.
    """
    total, row = reader.num_examples, 0
    with reader.open_source() as source:
        stream = RowStream(source.rows(np.arange(total), 0))
        while row < total:
            rows = stream.pull(min(size * reader.batch_size, total - row))
            parts = Parts.windows(rows, reader.max_seq_len) if reader.windows else Parts.of(rows)
            reader.stats["rows"] += len(rows)
            reader.stats["long"] += int((rows.lengths > reader.max_seq_len).sum()) + int(rows.cut.sum())
            reader.stats["windows"] += len(parts) - int((rows.lengths <= reader.max_seq_len).sum())
            order = np.argsort(-parts.lengths, kind="stable")
            for begin in range(0, len(order), reader.batch_size):
                index = order[begin : begin + reader.batch_size]
                own = Parts.of(EncodedRows.take(parts, index), parts.keep[index], parts.last[index])
                last = begin + reader.batch_size >= len(order)
                yield PartsBatch(reader.make_batch(own), index, parts, last)
            row += len(rows)
        reader.on_epoch_read(0)


def sentence_probs(reader, progress):
    """Probabilities of each sentence in the file's order, float32 [pieces + 2, classes], its parts joined."""
    found = {}
    with PyReader(lambda: part_batches(reader), AHEAD) as batches:
        for item in batches:
            probs = progress.run(item.batch)["probs"]
            for number, rows in zip(item.index.tolist(), probs):
                begin, end = item.window.keep[number]
                found[number] = rows[begin:end].copy()  # not a view that keeps the whole batch
            if not item.last:
                continue
            parts = []
            for number, last in enumerate(item.window.last.tolist()):
                parts.append(found.pop(number))
                if last:
                    yield np.concatenate(parts)
                    parts = []
            progress.add(int(item.window.last.sum()))
