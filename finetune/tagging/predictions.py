"""Batch prediction of tags: what infer_sequence_labeling.py writes.

tsv     a header and one line per row, as run_sequence_labeling.py predicts: text_a as in the input, tags, probabilities
        (of each tag, one per token, separated as in the input), entities (JSON: text, start, end, type); with running
        text a column of the tokens after text_a, separated by blanks as tags and probabilities are
jsonl   {"text": ..., "tokens": [...], "tags": [...], "probabilities": [...], "entities": [...]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from finetune.prediction.run import AHEAD, PredictionJob, Progress, open_output
from finetune.tagging.lines import SentenceLines
from finetune.tagging.task import SequenceLabel, decode_sentence, joined_sentences
from reader.batching import EncodedRows
from reader.ordered import WINDOW
from reader.pyreader import PyReader
from reader.row_stream import RowStream
from reader.tagging.reader import Parts, TaggingReader
from reader.tagging.running_text import RunningTextReader
from reader.task_reader import BatchReader

if TYPE_CHECKING:
    from finetune.prediction.args import PredictArgs
    from finetune.prediction.model import InferenceModel
    from finetune.spec import ModelSpec, Reading


class TaggingJob(PredictionJob):
    """A tag for each token of a sentence, and the entities they make."""

    unit = "sentences"

    def open_reader(
        self, path: str, model: InferenceModel, spec: ModelSpec, reading: Reading, args: PredictArgs
    ) -> BatchReader:
        if args.script.tokenized:
            return super().open_reader(path, model, spec, reading, args)
        arguments = SequenceLabel.reader_arguments(spec, reading)
        return RunningTextReader(path, model.tokenizer, labelled=False, **arguments)

    def write(self, model: InferenceModel, spec: ModelSpec, reader: Any, args: PredictArgs, progress: Progress) -> None:
        """One line per sentence, as ``--output_format`` says."""
        lines, running = SentenceLines(reader.tags), not args.script.tokenized
        as_json = args.script.output_format == "jsonl"
        with open_output(args.data.output) as file:
            if not as_json:
                tokens = ["tokens"] if running else []
                file.write("\t".join(["text_a", *tokens, "tags", "probabilities", "entities"]) + "\n")
            task: Any = model.task
            for outputs, sentence in zip(sentence_outputs(reader, progress, task.answer_outputs), reader.sentences()):
                decoded = decode_sentence(reader.tags, sentence, *task.sentence(outputs))
                file.write(lines.json(sentence, decoded) if as_json else lines.tsv(sentence, decoded, running))
        lines.log_misplaced()


class PartsBatch(NamedTuple):
    """A batch of sentences or parts of them. places: which parts of the window they are; window: its Parts; last:
    whether it is the window's last batch."""

    batch: dict
    places: np.ndarray
    window: Parts
    last: bool


def part_batches(reader: TaggingReader, size: int = WINDOW) -> Iterator[PartsBatch]:
    """Batches of like length from a TaggingReader, its windows over long sentences among them.

    Sentences for ``size`` batches are split into parts together, sorted by length and cut into batches.
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
                places = order[begin : begin + reader.batch_size]
                keep, ends = np.asarray(parts.keep)[places], np.asarray(parts.last)[places]
                rows_of_batch = Parts.of(EncodedRows.take(parts, places), keep, ends)
                last = begin + reader.batch_size >= len(order)
                yield PartsBatch(reader.make_batch(rows_of_batch), places, parts, last)
            row += len(rows)
        reader.on_epoch_read(0)


def sentence_outputs(
    reader: TaggingReader, progress: Progress, names: Sequence[str]
) -> Iterator[dict[str, np.ndarray]]:
    """name -> array of each sentence in the file's order, joined from its parts, see ``joined_sentences``."""
    outputs_of_part: dict[int, tuple] = {}
    with PyReader(lambda: part_batches(reader), AHEAD) as batches:
        for item in batches:
            predicted = progress.run(item.batch)
            for number, *row in zip(item.places.tolist(), *(predicted[name] for name in names)):
                outputs_of_part[number] = tuple(array.copy() for array in row)  # no views that keep the whole batch
            if not item.last:
                continue
            rows = [outputs_of_part.pop(number) for number in range(len(item.window.last))]
            about = {"keep": np.asarray(item.window.keep), "last_part": item.window.last}
            yield from joined_sentences([(dict(zip(names, zip(*rows))), about)], names)
            progress.add(int(item.window.last.sum()))
