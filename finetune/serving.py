"""Between the text of requests and the arrays of a model: a handler for each task of ``finetune.TASKS``.

    handler = open_handler("saved/step_100_inference_model")
    job = handler.parse({"texts": ["a fine film", ["a pair", "of texts"]]}, limits)
    handler.answer(job, outputs)        # outputs: of each of job.instances, name -> its own row, without padding

The server (``propeller.service``) calls these and knows nothing of text; the bundle's task name picks the class, which
the task names in ``FinetuneTask.handler``. A handler keeps nothing of a request and may be used from several threads.

    task            asked and answered
    classify        {"texts": [text or [text, text], ...]} or {"text_a": ..., "text_b": ...}
                    {"predictions": [{"label", "label_id", "probabilities": {label: p}, "truncated"}, ...]}
    regression      the same
                    {"predictions": [{"score", "truncated"}, ...]}
    sequence_label  see finetune/serving_tags.py
    mrc             see finetune/serving_mrc.py
    embed           {"texts": [text or [text, text], ...]}
                    {"embeddings": [[number, ...], ...], "truncated": [...]}
                    {"pairs": [[text, text], ...]}
                    {"similarity": [cosine, ...], "truncated": [...]}

``text_a`` and ``text_b`` are texts or lists of texts. ``truncated``: an example was longer than the model reads.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finetune import payload as asked
from finetune.embedding import POOLINGS, vectors_of
from finetune.inference import InferenceModel
from propeller.errors import UserError
from propeller.service.errors import BadRequest
from reader.batching import encode_rows, make_batch

PAGE = Path(__file__).resolve().with_name("page")


@dataclass
class Job:
    """A request on its way. instances: name -> array [tokens] of each row for the model; about: what the handler needs
    to make the answer."""

    instances: list
    about: dict = field(default_factory=dict)


def handler_class(task):
    """The handler of a task class. Raises UserError: it names none."""
    if not task.handler:
        raise UserError(f"the task {task.name!r} has no handler of requests: name one in its class, as handler")
    module, _, name = task.handler.partition(":")
    return getattr(importlib.import_module(module), name)


def open_handler(bundle_folder):
    """The handler of a bundle. Raises UserError: the bundle cannot be used."""
    model = InferenceModel.open(bundle_folder, with_predictor=False)
    return handler_class(model.task)(model)


class Handler:
    """What all handlers share: rows of ids to instances.

    Args:
        model: ``finetune.inference.InferenceModel``; its predictor is not used.

    Attributes:
        page: the folder of the web page.
        pad: input name -> what fills a row up, where that is not 0.
        outputs: names of the model's outputs that answers are made of.
        bounds: input name -> least and greatest value that the model has a vector for.
        max_length: the longest row that it takes, in tokens.
    """

    page = PAGE
    outputs = ()

    def __init__(self, model):
        self.model, self.tokenizer = model, model.tokenizer
        self.input_names = [entry["name"] for entry in model.bundle.inputs]
        self.task_id = model.meta["task_id"]
        self.pad = {"src_ids": self.tokenizer.pad_id, "task_ids": self.task_id}
        config = model.config
        self.max_length = config.max_position_embeddings
        sizes = {
            "src_ids": config.vocab_size,
            "sent_ids": config.sent_type_vocab_size,
            "pos_ids": config.max_position_embeddings,
            "task_ids": config.task_type_vocab_size,
        }
        self.bounds = {name: (0, sizes[name] - 1) for name in self.input_names if sizes.get(name)}

    def describe(self):
        """What ``/info`` tells: task, labels by class, longest row in tokens."""
        return {"task": self.model.bundle.task, "labels": self.labels, "max_seq_len": self.model.max_seq_len}

    @property
    def labels(self):
        """The words for the classes, in their order; none where the task has no classes."""
        return []

    def parse(self, payload, limits):
        """The Job of a request.

        Args:
            payload: the request's JSON, of any kind.
            limits: see ``finetune.payload``.

        Raises:
            BadRequest: what is wrong with it, and where.
        """
        raise NotImplementedError

    def answer(self, job, outputs):
        """What is answered, JSON-able.

        Args:
            outputs: for each of ``job.instances``, output name -> array without the batch axis.
        """
        raise NotImplementedError

    def instances(self, rows):
        """EncodedRows as the dicts of 1-D arrays that the model takes."""
        batches = (make_batch(rows.slice(i, i + 1), self.tokenizer.pad_id, self.task_id) for i in range(len(rows)))
        return [{name: batch[name][0] for name in self.input_names} for batch in batches]

    def encode(self, pairs):
        """EncodedRows of (text_a, text_b) pairs, as the reader makes them from a file."""
        first, second = zip(*pairs)
        ids = self.tokenizer.encode_batch([*first, *second])
        special = self.tokenizer.cls_id, self.tokenizer.sep_id
        return encode_rows(ids[: len(first)], ids[len(first) :], self.model.max_seq_len, *special)


class PairHandler(Handler):
    """One example is a text or a pair of texts; what is too long is cut, as in training, and said."""

    def parse(self, payload, limits):
        rows = self.encode(asked.texts_or_pairs(payload, limits))
        return Job(self.instances(rows), {"truncated": rows.cut.tolist()})

    def answer(self, job, outputs):
        predictions = [
            {**self.prediction(output), "truncated": cut} for output, cut in zip(outputs, job.about["truncated"])
        ]
        return {"predictions": predictions}

    def prediction(self, output):
        """The answer to one example."""
        raise NotImplementedError


class ClassifyHandler(PairHandler):
    """The label, and the probability of each."""

    outputs = ("probs",)

    @property
    def labels(self):
        return self.model.labels

    def prediction(self, output):
        probs = output["probs"]  # [num_labels]
        best = int(probs.argmax())
        return {
            "label": self.labels[best],
            "label_id": best,
            "probabilities": dict(zip(self.labels, probs.tolist())),
        }


class RegressionHandler(PairHandler):
    """A number."""

    outputs = ("logits",)

    def prediction(self, output):
        return {"score": float(output["logits"][0])}


class EmbedHandler(Handler):
    """A vector for each text, or the similarity of two texts: the cosine of their vectors.

    A request may name how the vector is made of the row's states, ``"pooling": "cls" | "mean" | "max"``, and ask for
    vectors of length 1, ``"normalize": true``; else it is as the bundle was made.
    """

    OPTIONS = ("pooling?", "normalize?")

    def __init__(self, model):
        super().__init__(model)
        self.poolings = self.outputs = [name for name in POOLINGS if name in model.bundle.outputs]
        self.pooling = model.meta.get("pooling") or self.poolings[0]
        self.normalize = bool(model.meta.get("normalize"))

    def describe(self):
        """With the poolings and the length of a vector."""
        hidden = self.model.config.hidden_size
        return {**super().describe(), "poolings": self.poolings, "pooling": self.pooling, "hidden_size": hidden}

    def parse(self, payload, limits):
        pairs = asked.choose(payload, ("texts", *self.OPTIONS), ("pairs", *self.OPTIONS))[0] == "pairs"
        pooling, normalize = payload.get("pooling", self.pooling), payload.get("normalize", self.normalize)
        if pooling not in self.poolings:
            raise BadRequest(f"pooling must be one of {', '.join(self.poolings)}")
        if not isinstance(normalize, bool):
            raise BadRequest(f"normalize must be true or false, not {asked.kind(normalize)}")
        if pairs:
            both = [
                asked.pair(value, f"pairs[{i}]", limits, blank=False)
                for i, value in enumerate(asked.members(payload["pairs"], "pairs", limits))
            ]
            examples = [(text, "") for pair in both for text in pair]
        else:
            examples = asked.texts_or_pairs({"texts": payload["texts"]}, limits)
        rows = self.encode(examples)
        about = {"pairs": pairs, "pooling": pooling, "normalize": normalize, "truncated": rows.cut}
        return Job(self.instances(rows), about)

    def answer(self, job, outputs):
        pooling, pairs, truncated = (job.about[name] for name in ("pooling", "pairs", "truncated"))
        stacked = {pooling: np.array([output[pooling] for output in outputs])}
        vectors = vectors_of(stacked, pooling, normalize=pairs or job.about["normalize"])  # [rows, hidden]
        if pairs:
            cosines = np.clip((vectors[::2] * vectors[1::2]).sum(axis=1), -1, 1)
            return {"similarity": cosines.tolist(), "truncated": truncated.reshape(-1, 2).any(axis=1).tolist()}
        return {"embeddings": vectors.tolist(), "truncated": truncated.tolist()}
