"""A model that predicts Python values.

    predictor = finetune.load("output/sst2/best")
    predictor(["a fine film", ("a man sings", "somebody makes music")])     # a dict per item, as the server answers
    predictor.embed(["a fine film", "dull"])                                # float32 [2, hidden]

Importing this module does not load Paddle; making a ``Predictor`` does.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from finetune.client import token_rows
from finetune.serving.payload import hint_for_rows
from propeller import runtime
from propeller.errors import UserError
from propeller.files import temporary_directory
from propeller.service.engines import runs_onnx
from propeller.service.errors import ServiceError
from propeller.service.limits import Limits
from propeller.service.padding import InputSpec, sequence_outputs, split
from propeller.shown import show_as, temporary_model

if TYPE_CHECKING:
    from ernie.foreign_folder import Converted
    from finetune.embedding.handler import EmbedHandler
    from finetune.prediction.export import Checkpoint
    from finetune.prediction.model import InferenceModel
    from finetune.serving.handler import ParsedRequest
    from finetune.spec import ModelSpec

log = logging.getLogger("ernie.finetune")

CHUNK = 1024  # items read and sorted by length together


class Predictor:
    """A model that predicts Python values; made by ``finetune.load``.

    Several threads may use it at the same time: text is prepared in each, and the network runs for one after the other.

    Attributes:
        spec: ``ModelSpec``: task, labels, ``max_seq_len`` and what else the model says of itself.
    """

    def __init__(
        self,
        model: InferenceModel | None,
        checkpoint: Checkpoint | None,
        settings: Mapping[str, Any],
        temporary: Converted | None = None,
    ) -> None:
        self._checkpoint, self._settings, self._temporary = checkpoint, dict(settings), temporary
        self._lock = threading.Lock()
        self._embedder: Predictor | None = None
        if model is None:
            assert checkpoint is not None
            model = self._export(checkpoint)
        self._open(model)

    def _export(self, checkpoint: Checkpoint) -> InferenceModel:
        """The ``InferenceModel`` of a checkpoint, by way of a temporary bundle."""
        from finetune.prediction.export import export_checkpoint
        from finetune.prediction.model import InferenceModel

        place = runtime.place(self._settings["use_cuda"])
        with temporary_directory("ernie-load-") as folder:
            show_as({folder / "model": temporary_model(checkpoint.folder)})
            bundle = export_checkpoint(folder / "model", checkpoint, place, runs_onnx(self._settings["engine"]))
            return InferenceModel.open(bundle, **self._settings)

    def _open(self, model: InferenceModel) -> None:
        from finetune.serving.handler import handler_class

        self._model, self._handler = model, handler_class(model.task)(model)
        handler = self._handler
        self._inputs = InputSpec(model.bundle.inputs, handler.pad, handler.bounds, handler.max_length)
        self._sequence = sequence_outputs(model.run, self._inputs)

    @property
    def spec(self) -> ModelSpec:
        """What the model says of itself."""
        return self._model.spec

    @property
    def model(self) -> InferenceModel:
        """The inference model that predicts."""
        return self._model

    def describe(self) -> dict[str, Any]:
        """What the server of the model would say of it: ``task``, ``labels``, ``max_seq_len``, ``tokenizer``, …"""
        return self._handler.describe()

    def __call__(
        self, items: Sequence[Any], batch_size: int = 32, on_bad: str = "error"
    ) -> list[dict[str, Any] | None]:
        """Predict.

        Args:
            items: texts or (text, text) pairs, of table rows ``[(row["subject"], row["body"]) for row in rows]``; for
                reading comprehension (question, context) pairs; for sequence labelling texts or lists of tokens.
            batch_size: rows of like length that the network sees together.
            on_bad: ``error``, or ``skip`` to answer None to an item that is empty, too long or not of these forms; a
                line of the log counts and numbers them.

        Returns:
            a dict per item, as the server answers: label and probabilities, a score, entities and tokens, an answer
            with its place, or an embedding.

        Raises:
            ValueError: an item is empty, too long, or not of these forms; it names which.
        """
        items = _listed(items)
        answers: list[dict[str, Any] | None] = [None] * len(items)
        for numbers, answer in self._answers(items, batch_size, {}, on_bad):
            for number, entry in zip(numbers, _entries(answer, self._handler.answer_key)):
                answers[number] = entry
        return answers

    def embed(
        self,
        texts: Sequence[Any],
        pooling: str | None = None,
        normalize: bool | None = None,
        batch_size: int = 32,
        on_bad: str = "error",
    ) -> np.ndarray:
        """Vectors of texts or of pairs of texts.

        Args:
            texts: texts or (text, text) pairs.
            pooling: ``cls``, ``mean``, ``max`` or another that the model gives; None: as the model says.
            normalize: whether vectors are made of length 1 (L2); None: as the model says.
            batch_size: rows of like length that the network sees together.
            on_bad: ``error``, or ``skip`` to give NaN for a text that is empty; a line of the log counts and numbers
                them.

        Returns:
            float32 [texts, hidden].

        Raises:
            ValueError: a text is empty; an unknown pooling.
            UserError: an inference model of another task, which has no embeddings: load the checkpoint it came from.
        """
        texts = _listed(texts)
        embedder = self if self._handler.answer_key == "embeddings" else self._embedding_predictor()
        chosen = {"pooling": pooling, "normalize": normalize}
        options = {name: value for name, value in chosen.items() if value is not None}
        size = cast("EmbedHandler", embedder._handler).vector_size(pooling)
        vectors = np.full((len(texts), size), np.nan, np.float32)
        for numbers, answer in embedder._answers(texts, batch_size, options, on_bad):
            vectors[numbers] = answer["embeddings"]
        return vectors

    def logits(self, items: Sequence[Any], batch_size: int = 32) -> np.ndarray:
        """What a student learns from: logits of classes, or numbers of a regression.

        Rows are computed beside rows of their own length alone, so that a text has the same bits whichever texts are
        asked for beside it, on a CPU whose matrix products do not depend on the batch; the server does so too.

        Args:
            items: texts or (text, text) pairs.
            batch_size: rows that the network sees together.

        Returns:
            float32 [items, classes].

        Raises:
            ValueError: an item is empty or not of these forms; the task has no logits, or one set per token.
        """
        if self._handler.logits_of_tokens:
            raise ValueError(f"the task {self.spec.task!r} has logits of tokens: use token_logits")
        return np.array(self._logits_of_answers(items, batch_size), np.float32)

    def token_logits(self, items: Sequence[Any], batch_size: int = 32) -> list[np.ndarray]:
        """What a student of tagging learns from.

        A token of several word pieces has of each tag the mean of what its pieces say of it, see
        ``reader.tagging.token_logits``.

        Args:
            items: lists of tokens, or texts.
            batch_size: windows of sentences that the network sees together.

        Returns:
            of each item float32 [tokens, tags]; -inf for all tags of a token without a word piece.

        Raises:
            ValueError: an item is empty or not of these forms; the task has no logits of tokens.
        """
        if not self._handler.logits_of_tokens:
            raise ValueError(f"the task {self.spec.task!r} has no logits of tokens: use logits")
        return [token_rows(rows, self.spec.num_labels) for rows in self._logits_of_answers(items, batch_size)]

    def _logits_of_answers(self, items, batch_size):
        """The ``logits`` of each item's answer."""
        answers = self._answers(_listed(items), batch_size, {"logits": True}, "error")
        return [prediction["logits"] for _, answer in answers for prediction in answer["predictions"]]

    def _embedding_predictor(self) -> Predictor:
        """A predictor of embeddings by the encoder of this model's checkpoint."""
        from finetune.sources import embedding_checkpoint

        with self._lock:
            if self._embedder is None:
                if self._checkpoint is None:
                    raise UserError(
                        f"{self._model.bundle.folder}: an inference model of the task {self.spec.task!r}, which has no "
                        "embeddings: load the checkpoint it was made from"
                    )
                self._embedder = Predictor(None, embedding_checkpoint(self._checkpoint), self._settings)
            return self._embedder

    def _answers(
        self, items: list[Any], batch_size: int, options: Mapping[str, Any], on_bad: str
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """(numbers of items, the answer to them) chunk by chunk; with on_bad skip without the bad ones."""
        if on_bad not in ("error", "skip"):
            raise ValueError(f"on_bad is {on_bad!r}: give error or skip")
        bad: list[int] = []
        for begin in range(0, len(items), CHUNK):
            numbers = list(range(begin, min(begin + CHUNK, len(items))))
            try:
                request = self._parse([items[number] for number in numbers], options)
            except ServiceError as error:
                if on_bad == "error":
                    place = f" (counted from item {begin})" if begin else ""
                    raise ValueError(f"{error.message}{place}{hint_for_rows(self._handler, items)}") from None
                good = [number for number in numbers if self._is_good(items[number], options)]
                bad += sorted(set(numbers) - set(good))
                if not good:
                    continue
                numbers, request = good, self._parse([items[number] for number in good], options)
            yield numbers, self._handler.answer(request, self._run(request, batch_size))
        if bad:
            log.warning("%d of %d items left out: %s", len(bad), len(items), ", ".join(map(str, bad)))

    def _parse(self, items: list[Any], options: Mapping[str, Any]) -> ParsedRequest:
        """The request for items. Raises ServiceError."""
        unbounded = dataclasses.replace(Limits(), max_texts=2**31, max_chars=2**31, queue_size=2**31)
        return self._handler.parse({**self._handler.payload(items), **options}, unbounded)

    def _is_good(self, item: Any, options: Mapping[str, Any]) -> bool:
        try:
            self._parse([item], options)
        except ServiceError:
            return False
        return True

    def _run(self, request: ParsedRequest, batch_size: int) -> list[dict[str, np.ndarray]]:
        """name -> array of each instance without padding, computed in batches of like length."""
        instances, names = request.instances, request.outputs or self._handler.outputs
        outputs: list[Any] = [None] * len(instances)
        lengths = [len(next(iter(instance.values()))) for instance in instances]
        order = sorted(range(len(instances)), key=lengths.__getitem__, reverse=True)
        for chosen in _batches(order, lengths, max(1, batch_size), request.unpadded):
            batch = self._inputs.pad([instances[number] for number in chosen])
            with self._lock:
                fetched = self._model.run(batch)
            wanted = {name: fetched[name] for name in names or fetched}
            for number, row in zip(chosen, split(wanted, [lengths[number] for number in chosen], self._sequence)):
                outputs[number] = row
        return outputs

    def close(self) -> None:
        """Remove what loading wrote to temporary folders; also done when the predictor is collected."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _listed(items: Sequence[Any]) -> list[Any]:
    if isinstance(items, str):
        raise ValueError("give a list of texts, not one text")
    return list(items)


def _batches(order: list[int], lengths: list[int], size: int, unpadded: bool) -> Iterator[list[int]]:
    """Runs of ``order`` of at most ``size``; unpadded, each of rows of one length."""
    begin = 0
    while begin < len(order):
        end = min(begin + size, len(order))
        if unpadded:
            end = next((at for at in range(begin, end) if lengths[order[at]] != lengths[order[begin]]), end)
        yield order[begin:end]
        begin = end


def _entries(answer: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The entries of an answer, a dict per item."""
    values = answer[key]
    if values and not isinstance(values[0], dict):  # vectors, with their facts beside them
        return [{key.removesuffix("s"): value, "truncated": cut} for value, cut in zip(values, answer["truncated"])]
    return values
