"""Batch prediction of tags: what infer_sequence_labeling.py writes.

tsv     a header and one line per row: text_a and the other columns as in the input, tags and gold_label; tags,
        probabilities (of each tag, one per token, separated as in the input), entities (JSON: text, start, end, type);
        with running text a column of the tokens before the tags, separated by blanks as tags and probabilities are
jsonl   {"text": ..., the other columns, "tokens": [...], "tags": [...], "probabilities": [...], "entities": [...]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from finetune.prediction.formats import LABEL, CopiedColumns, on_one_line, table_rows
from finetune.prediction.run import AHEAD, PredictionJob, Progress, open_output
from finetune.tagging.gold import TagGold
from finetune.tagging.lines import SentenceLines
from finetune.tagging.sentences import decode_sentence, joined_sentences
from finetune.tagging.task import SequenceLabel
from reader.batch_reader import BatchReader
from reader.batching import EncodedRows
from reader.ordered import WINDOW
from reader.pyreader import PyReader
from reader.row_stream import RowStream
from reader.tables.opening import holds_lines
from reader.tagging.parts import Parts
from reader.tagging.reader import TaggingReader
from reader.tagging.running_text import RunningTextReader
from reader.tagging.sentence import split_tokens

if TYPE_CHECKING:
    from finetune.prediction.args import PredictArgs
    from finetune.prediction.gold import Gold
    from finetune.prediction.model import InferenceModel
    from finetune.spec import ModelSpec, Reading
    from reader.tables.form import TableForm


class TaggingJob(PredictionJob):
    """A tag for each token of a sentence, and the entities they make."""

    unit = "sentences"

    def open_reader(
        self, path: str, model: InferenceModel, spec: ModelSpec, reading: Reading, args: PredictArgs
    ) -> BatchReader:
        if not self.is_running(path, reading.form, args):
            return super().open_reader(path, model, spec, reading, args)
        arguments = SequenceLabel.reader_arguments(spec, reading)
        return RunningTextReader(path, model.tokenizer, labelled=False, **arguments)

    @staticmethod
    def is_running(path: str, form: TableForm, args: PredictArgs) -> bool:
        """Whether the text is to be cut into tokens here: as the flag says, else where lines are nothing but text."""
        given = args.script.tokenized
        return holds_lines(path, form) if given is None else not given

    def write(
        self, model: InferenceModel, spec: ModelSpec, reader: Any, args: PredictArgs, progress: Progress
    ) -> Gold | None:
        """One line per sentence, as ``--output_format`` says."""
        lines, running = SentenceLines(reader.tags), isinstance(reader, RunningTextReader)
        columns = CopiedColumns(reader.table.columns if args.script.copy_columns else (), (LABEL,))
        shown, gold = columns.shown(), TagGold.of(reader, running)
        as_json = args.script.output_format == "jsonl"
        with open_output(args.data.output) as file:
            if not as_json:
                tokens = ["tokens"] if running else []
                copied = map(on_one_line, shown.values())
                file.write("\t".join(["text_a", *copied, *tokens, "tags", "probabilities", "entities"]) + "\n")
            task: Any = model.task
            found = sentence_outputs(reader, progress, task.answer_outputs)
            for outputs, sentence, row in zip(found, reader.sentences(), table_rows(reader.table)):
                decoded = decode_sentence(reader.tags, sentence, *task.sentence(outputs))
                if as_json:
                    values = {own: columns.value(name, row[name]) for name, own in shown.items()}
                    if LABEL in shown:  # as "tags" beside it
                        values[shown[LABEL]] = split_tokens(row[LABEL], reader.encoder.separator)
                    file.write(lines.json(sentence, decoded, values))
                else:
                    cells = [columns.cell(name, row[name], sentence.separator) for name in shown]
                    file.write(lines.tsv(sentence, decoded, running, cells))
                if gold is not None:
                    gold.add(outputs, sentence, row)
        lines.log_misplaced()
        return gold


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
            reader.count_long(rows, parts)
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
