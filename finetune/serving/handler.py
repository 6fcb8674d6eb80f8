"""Between the text of requests and the arrays of a model: the request handlers of the tasks in ``finetune.TASKS``.

    handler = open_handler("saved/step_100_inference_model")
    request = handler.parse({"texts": ["a fine film", ["a pair", "of texts"]]}, limits)
    handler.answer(request, outputs)    # outputs: for each of request.instances, name -> its row, without padding

The server (``propeller.service``) and the Python API call these. The bundle names the task, and the task names its
handler (``FinetuneTask.handler``), so a bundle never says what is imported. A handler keeps nothing of a request and
may be used by several threads.

    task            request and answer
    (default)       {"texts": [text or [text, text], ...]} or {"text_a": ..., "text_b": ...}
                    {"predictions": [{**FinetuneTask.decode, "truncated"}, ...]}
    classify        ... {"label", "label_id", "probabilities": {label: p}, "truncated"}
    multi_label_classification    ... {"labels", "probabilities": {label: p}, "truncated"}
    regression      ... {"score", "truncated"}
    sequence_label  see finetune/tagging/handler.py
    mrc             see finetune/mrc/handler.py
    embed           see finetune/embedding/handler.py

``text_a`` and ``text_b`` are texts or lists of texts. ``truncated`` says whether an example was cut. With ``"logits":
true`` beside the texts each prediction has ``logits`` too, for a student to learn from: in these answers the same text
has the same bits, whichever texts are asked for beside it, on a CPU whose matrix products do not depend on the batch.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ernie.facts import is_chinese
from finetune.pairs import warn_of_request
from finetune.prediction.model import InferenceModel
from finetune.serving import payload as checks
from finetune.spec import PAIRS
from propeller.bundle import WEIGHTS
from propeller.errors import UserError
from propeller.service.errors import BadRequest
from reader.batching import EncodedRows, encode_rows, make_batch

if TYPE_CHECKING:
    from finetune.task import FinetuneTask
    from propeller.service.limits import Limits


PAGE = Path(__file__).resolve().with_name("page")


@dataclass
class ParsedRequest:
    """A request on its way.

    Attributes:
        instances: name -> array [tokens] of each row for the model.
        about: what the handler needs to make the answer.
        outputs: names of those it needs, None: ``Handler.outputs``.
        unpadded: whether rows are to be computed beside rows of their own length alone, so that the same row always
            gives the same bits.
    """

    instances: list[dict[str, np.ndarray]]
    about: dict[str, Any] = field(default_factory=dict)
    outputs: Sequence[str] | None = None
    unpadded: bool = False


def handler_class(task: type[FinetuneTask]) -> type[Handler]:
    """The handler of a task class. Raise UserError if it names none."""
    if not task.handler:
        raise UserError(f"the task {task.name!r} has no handler of requests: name one in its class, as handler")
    module, _, name = task.handler.partition(":")
    return getattr(importlib.import_module(module), name)


def open_handler(bundle_folder: str | Path) -> Handler:
    """The handler of a bundle. Raise UserError if the bundle cannot be used."""
    model = InferenceModel.open(bundle_folder, with_predictor=False)
    return handler_class(model.task)(model)


class Handler:
    """What all handlers share: rows of ids to instances.

    Args:
        model: ``finetune.prediction.model.InferenceModel``; its predictor is not used.

    Attributes:
        page: the folder of the web page.
        pad: input name -> what fills a row up, where that is not 0.
        outputs: names of the model's outputs that answers are made of.
        main: names of the outputs that clients of arrays get by position, as in 2019; the others by name alone.
        bounds: input name -> least and greatest value that the model has a vector for.
        max_length: the longest row that it takes, in tokens.
        quick: see ``propeller.service.handlers``.
        answer_key: what of an answer is one entry per item of the request.
        logits_of_tokens: whether the ``logits`` of an entry are those of its tokens.
    """

    page = PAGE
    quick = True
    answer_key = "predictions"
    logits_of_tokens = False

    def __init__(self, model: InferenceModel) -> None:
        self.model, self.tokenizer = model, model.tokenizer
        self.outputs: Sequence[str] = model.task.answer_outputs
        self.main: Sequence[str] = self.outputs
        self.input_names = [entry["name"] for entry in model.bundle.inputs]
        self._pairs = model.task.trained_on_pairs(model.spec.facts)
        self.task_id = model.spec.task_id
        self.pad = {"src_ids": self.tokenizer.pad_id, "task_ids": self.task_id}
        config = model.config
        self.max_length = config.max_position_embeddings
        sizes: dict[str, int | None] = {
            "src_ids": config.vocab_size,
            "sent_ids": config.sent_type_vocab_size,
            "pos_ids": config.max_position_embeddings,
            "task_ids": config.task_type_vocab_size,
        }
        known = {name: size for name, size in sizes.items() if size}
        self.bounds = {name: (0, known[name] - 1) for name in self.input_names if name in known}

    def describe(self) -> dict[str, Any]:
        """The model's entry in ``/info``: task, what it does, labels by class, language, whether it was trained with
        pairs of texts (null: it does not say), longest row in tokens, sha256 of the weights, tokenizer."""
        about = (self.model.task.__doc__ or "").strip().split("\n")[0]
        return {
            "task": self.model.bundle.task,
            "about": about,
            "labels": self.labels,
            "language": self.language,
            "pairs": self.model.spec.facts.get(PAIRS),
            "max_seq_len": self.model.max_seq_len,
            "task_id": self.task_id,
            "weights": self.model.bundle.files[WEIGHTS]["sha256"],
            "tokenizer": {
                "name": self.model.spec.tokenizer,
                "do_lower_case": self.model.spec.do_lower_case,
                "for_cn": self.tokenizer.for_cn,
                "fingerprint": self.tokenizer.fingerprint,
            },
        }

    @functools.cached_property
    def language(self) -> str:
        """``zh`` where the vocabulary is mostly Chinese, else ``en``: in which language examples are shown."""
        return "zh" if is_chinese(self.tokenizer.vocab) else "en"

    @property
    def labels(self) -> list[str]:
        """The words for the classes, in their order; [] where the task has no classes."""
        return self.model.task.labels(self.model.spec)

    def payload(self, items: Sequence[Any]) -> dict[str, Any]:
        """The request for Python values: texts, and pairs of texts as tuples or lists."""
        return {"texts": [list(item) if isinstance(item, tuple) else item for item in items]}

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        """The rows of a request.

        Args:
            payload: the request's JSON, of any kind.
            limits: see ``finetune.serving.payload``.

        Raises:
            BadRequest: what is wrong with it, and where.
        """
        raise NotImplementedError

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        """The answer, JSON-able.

        Args:
            job: what ``parse`` gave.
            outputs: for each of ``job.instances``, output name -> array without the batch axis.
        """
        raise NotImplementedError

    def tell_pairs(self, given: Iterable[tuple[str, str]]) -> None:
        """Warn, once, of a request of single texts for a model of pairs, or the other way round.

        Args:
            given: see ``finetune.pairs.warn_of_request``.
        """
        if warn_of_request(self._pairs, given):
            self._pairs = None

    def instances(self, rows: EncodedRows) -> list[dict[str, np.ndarray]]:
        """EncodedRows as the dicts of 1-D arrays that the model takes."""
        batches = (make_batch(rows.slice(i, i + 1), self.tokenizer.pad_id, self.task_id) for i in range(len(rows)))
        return [{name: batch[name][0] for name in self.input_names} for batch in batches]

    def asks_logits(self, payload: Any) -> tuple[Any, str]:
        """(the request without ``logits``, the name of the output that it asks for with that, or "").

        Raises:
            BadRequest: it is neither true nor false, or the task teaches nothing.
        """
        if not isinstance(payload, dict) or "logits" not in payload:
            return payload, ""
        rest = {key: value for key, value in payload.items() if key != "logits"}
        if not isinstance(payload["logits"], bool):
            raise BadRequest(f"logits must be true or false, not {checks.kind(payload['logits'])}")
        if payload["logits"] and not self.model.task.teaches:
            raise BadRequest(f"logits: the task {self.model.task.name!r} has none that a student could learn from")
        return rest, self.model.task.teaches if payload["logits"] else ""

    def encode(self, pairs: Sequence[tuple[str, str]]) -> EncodedRows:
        """EncodedRows of (text_a, text_b) pairs, as the reader makes them from a file."""
        first, second = zip(*pairs)
        ids = self.tokenizer.encode_batch([*first, *second])
        special = self.tokenizer.cls_id, self.tokenizer.sep_id
        return encode_rows(ids[: len(first)], ids[len(first) :], self.model.max_seq_len, *special)


class TextHandler(Handler):
    """One example is a text or a pair of texts; what is too long is cut, as in training, and the answer says so."""

    def texts_of(self, payload: Any, limits: Limits) -> list[tuple[str, str]]:
        """(text_a, text_b) of each example, text_b "" where there is none. Raises BadRequest."""
        pairs = checks.texts_or_pairs(payload, limits)
        self.tell_pairs(pairs)
        return pairs

    def parse(self, payload: Any, limits: Limits) -> ParsedRequest:
        payload, teaches = self.asks_logits(payload)
        pairs = self.texts_of(payload, limits)
        rows = self.encode(pairs)
        about = {"pairs": pairs, "truncated": rows.cut.tolist(), "teaches": teaches}
        outputs = (*self.outputs, teaches) if teaches and self.outputs else None
        return ParsedRequest(self.instances(rows), about, outputs, unpadded=bool(teaches))

    def answer(self, job: ParsedRequest, outputs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
        task, spec = self.model.task, self.model.spec
        rows = ({"text_a": first, "text_b": second} for first, second in job.about["pairs"])
        predictions = [
            {**task.decode(output, row, spec), "truncated": cut}
            for output, row, cut in zip(outputs, rows, job.about["truncated"])
        ]
        if job.about["teaches"]:
            for prediction, output in zip(predictions, outputs):
                prediction["logits"] = output[job.about["teaches"]].tolist()
        return {"predictions": predictions}
