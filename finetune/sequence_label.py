"""Sequence labelling, a tag a token: MSRA-NER.

    python run_sequence_labeling.py --train_set data/msra_ner/train.tsv --dev_set data/msra_ner/dev.tsv --num_labels 7 \
        --label_map_config data/msra_ner/label_map.json --chunk_scheme IOB ...

A line of the prediction file is `text_a<TAB>tags<TAB>probabilities<TAB>entities`: the first column as it stands in the
input, a tag a token and the probability of each in the input's form (0x02 or blanks between), and a JSON list of
`{"text", "start", "end", "type"}` in the original text, end exclusive, in characters. The original text is text_a, in
the 0x02 form without the 0x02.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F

from ernie.modeling import Linear
from finetune.task import ENCODER_INPUTS, FinetuneTask, HeadConfig
from propeller.errors import UserError
from propeller.files import atomic_text
from propeller.flags import flag
from propeller.metrics import Metric
from propeller.train.model import Input
from reader.tagging import TaggingReader
from reader.tags import SCHEMES, TagSet

log = logging.getLogger("ernie.finetune")


@dataclass(frozen=True)
class SequenceLabelArgs:
    """sequence labelling: tags and long sentences"""

    chunk_scheme: str = flag("IOB", "how tags make entities", choices=tuple(SCHEMES))
    o_label: str = flag("O", "new: the tag outside of entities")
    padding_label: str = flag(None, "new: the tag of [CLS], [SEP] and padding (default: --o_label)")
    long_text: str = flag(
        "window",
        "new: sentences above --max_seq_len in evaluation and prediction; training cuts them, as in 2019",
        choices=("cut", "window"),
    )


@dataclass(frozen=True)
class TaggingHead(HeadConfig):
    """A head whose classes are tags."""

    tags: TagSet | None = None


def tag_set(args, label_map):
    """The ``TagSet`` that the flags describe. Raises UserError: they and the label map do not fit."""
    own = args.task
    return TagSet(
        label_map,
        own.chunk_scheme,
        own.o_label,
        own.padding_label,
        args.model.num_labels,
        args.model.label_map_config,
    )


class SequenceLabel(FinetuneTask):
    """One tag a token: softmax over the vector of every word piece."""

    name = "sequence_label"
    head_prefix = ("cls_seq_label_out",)
    flags = SequenceLabelArgs
    handler = "finetune.serving_tags:TaggingHandler"
    inputs = (
        *ENCODER_INPUTS,
        Input("labels", [None, None], "int64", label=True),
        Input("seq_lens", [None, 1], "int64", label=True),
        Input("keep", [None, 2], "int64", label=True),
        Input("last_part", [None, 1], "int64", label=True),
    )

    def __init__(self, config, head, mode, optimizer=None):
        super().__init__(config, head, mode, optimizer)
        self.out = Linear(
            config,
            config.hidden_size,
            head.num_labels,
            weight_name="cls_seq_label_out_w",
            bias_name="cls_seq_label_out_b",
        )

    def forward(self, features):
        """-> ``logits`` and ``probs``, float32 [batch, seq, num_labels]."""
        encoded = self.encoder(features)  # [batch, seq, hidden]
        logits = self.out(F.dropout(encoded, self.head.dropout, training=self.training))
        return {"logits": logits, "probs": F.softmax(logits)}

    def loss(self, predictions, label):
        """The sum of the cross entropies over the tokens divided by the number of places, padding too.

        So in 2019, for which its hyper-parameters are: a sentence weighs less among longer ones.
        """
        labels = label["labels"]
        losses = F.cross_entropy(predictions["logits"], labels.unsqueeze(-1), reduction="none").squeeze(-1)
        places = paddle.cumsum(paddle.ones_like(labels), axis=1)  # 1, 2, ... [batch, seq]
        return (losses * (places <= label["seq_lens"]).astype(losses.dtype)).mean()

    def loss_weight(self, batch):
        """The places of the batch, padding too: what the loss is the mean over."""
        return batch["labels"].size

    def metrics(self, predictions, label):
        """Chunk F1, precision and recall, of a batch while training."""
        found = predictions["logits"].argmax(axis=-1)
        return {"chunks": ChunkScores([found, label["labels"], label["keep"], label["last_part"]], self.head.tags)}

    @classmethod
    def variant(cls, args):
        """This class; what no other task minds is checked. Raises UserError."""
        if not args.model.label_map_config:
            raise UserError('--label_map_config is needed: a JSON file {"B-PER": 0, ..., "O": 6} of the tags')
        if args.model.is_regression:
            raise UserError("--is_regression true is for run_classifier.py; leave it out")
        return cls

    @classmethod
    def head_config(cls, args, label_map):
        """With the tags, which the scores need."""
        return TaggingHead(num_labels=args.model.num_labels, tags=tag_set(args, label_map))

    @classmethod
    def open_reader(cls, path, tokenizer, args, label_map, training=False, labelled=True):
        return TaggingReader(
            path,
            tokenizer,
            tags=tag_set(args, label_map),
            labelled=labelled,
            windows=not training and args.task.long_text == "window",
            token_cache_dir=cls.token_cache(args),
            **cls.batching(args, training),
        )

    @classmethod
    def finish_scores(cls, scores, reader, args):
        """Sentences are counted, not windows of them."""
        return {**scores, "data_num": reader.num_examples}

    @classmethod
    def best_by(cls, head):
        return "f1"

    @classmethod
    def evaluation_line(cls, head, scores, elapsed):
        """The 2019 line."""
        return f"{_scores(scores)}, elapsed time: {elapsed:f} s"

    @classmethod
    def training_line(cls, record):
        """The 2019 line."""
        return f"loss: {record['loss']:f}, {_scores(record)}"

    @classmethod
    def write_predictions(cls, outputs, reader, save, args):
        """A line a sentence, see the module; a token without a word piece, or behind a cut, is told as O or inside."""
        tags, written, misplaced = reader.tags, 0, 0
        with atomic_text(save) as file:
            for sentence, probs in zip(reader.sentences(), whole_sentences(outputs)):
                classes, chances = token_tags(tags, sentence.pieces, probs)
                misplaced += tags.misplaced(classes)
                file.write(prediction_line(tags, sentence, classes, chances))
                written += 1
        if misplaced:
            log.info("%s: %d tags stand where %s has none: as predicted; an entity begins where its tags do", save,
                     misplaced, tags.scheme)  # fmt: skip
        return written


def _scores(scores):
    return f"f1: {scores['f1']:f}, precision: {scores['precision']:f}, recall: {scores['recall']:f}"


def f1_score(inferred, labelled, correct):
    """F1, precision and recall from numbers of entities; 0 where they are undefined, as in 2019."""
    precision = correct / inferred if inferred else 0.0
    recall = correct / labelled if labelled else 0.0
    f1 = 2 * precision * recall / (precision + recall) if correct else 0.0
    return {"f1": f1, "precision": precision, "recall": recall}


class ChunkScores(Metric):
    """Entities predicted, labelled and both, over sentences put together from their windows.

    They are counted over word pieces with [CLS] and [SEP], as in 2019. tensors: predicted classes and labels int64
    [batch, seq], and ``keep`` and ``last_part`` of ``TaggingReader``.
    """

    def __init__(self, tensors, tags):
        self.tags = tags
        super().__init__(tensors)

    def reset(self):
        self.inferred = self.labelled = self.correct = 0
        self._found, self._wanted = [], []

    def update(self, arrays):
        for found, wanted, (begin, end), last in zip(*arrays):
            self._found += found[begin:end].tolist()
            self._wanted += wanted[begin:end].tolist()
            if last:
                inferred, labelled = (set(self.tags.entities(row)) for row in (self._found, self._wanted))
                self.inferred += len(inferred)
                self.labelled += len(labelled)
                self.correct += len(inferred & labelled)
                self._found, self._wanted = [], []

    def eval(self):
        return f1_score(self.inferred, self.labelled, self.correct)


def whole_sentences(outputs):
    """Probabilities float32 [pieces, classes] of each sentence, without [CLS] and [SEP], put together from windows."""
    parts = []
    for predicted, batch in outputs:
        for probs, (begin, end), last in zip(predicted["probs"], batch["keep"], batch["last_part"]):
            parts.append(probs[begin:end])
            if last:
                yield np.concatenate(parts)[1:-1]
                parts = []


def token_tags(tags, pieces, probs):
    """A class and its probability for each token.

    The class is the one that spread over the word pieces would be theirs, the probability that of the first piece.
    A token without word pieces, and one behind the cut of a long sentence, has none: it is O at 1, or goes on with the
    entity on both sides of it.

    Args: pieces: number of word pieces of each token; probs: [pieces, classes].
    """
    found, classes, chances, at = probs.argmax(axis=-1), [], [], 0
    for count in pieces:
        seen = found[at : at + count]
        classes.append(tags.gather(seen) if len(seen) else None)
        chances.append(float(probs[at].max()) if len(seen) else 1.0)
        at += count
    return tags.fill(classes), chances


def find_entities(tags, sentence, classes):
    """The entities of a ``Sentence``: dicts of text, start, end (characters of the original text) and type."""
    ends = [begin + len(token) for begin, token in zip(sentence.begins, sentence.tokens)]
    entities = []
    for kind, first, last in tags.entities(classes):
        start, end = sentence.begins[first], ends[last]
        entities.append({"text": sentence.original[start:end], "start": start, "end": end, "type": kind})
    return entities


def prediction_line(tags, sentence, classes, chances):
    """The line of a ``Sentence``, see the module."""
    names = sentence.separator.join(tags.names[number] for number in classes)
    shown = sentence.separator.join(f"{chance:.5f}" for chance in chances)
    entities = json.dumps(find_entities(tags, sentence, classes), ensure_ascii=False)
    return f"{sentence.text}\t{names}\t{shown}\t{entities}\n"
