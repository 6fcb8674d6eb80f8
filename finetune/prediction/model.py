"""A bundle opened for text: its task, spec and tokenizer beside the predictor.

    model = InferenceModel.open("saved_model/step_100_inference_model", engine="onnxruntime")
    reader = model.reader("test.tsv", batch_size=32)
    for batch, _ in reader.batches(None):
        outputs = model.run(batch)                  # name -> array, as the task's forward names them

Batch prediction, embeddings, the Python API and the server all predict through it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ernie.export import CONFIG, VOCAB
from finetune import TASKS, task_class
from finetune.spec import ModelSpec, Reading
from finetune.task import FinetuneTask
from propeller.bundle import Bundle, read_bundle
from propeller.errors import UserError
from propeller.service.engines import AUTO, describe, uses_gpu
from propeller.service.predictor import Predictor

if TYPE_CHECKING:
    from reader.batch_reader import BatchReader
    from tokenization_base import BaseTokenizer

log = logging.getLogger("ernie.finetune")


@dataclass(frozen=True)
class InferenceModel:
    """What a bundle holds, ready for use.

    Attributes:
        bundle: ``propeller.bundle.Bundle``.
        task: the class in ``finetune.TASKS``.
        spec: ``ModelSpec``, what the bundle says of the model.
        config: the network, see ``FinetuneTask.read_config``.
        tokenizer: as the model was trained with; its fingerprint was checked.
        predictor: ``Predictor``, or None.
    """

    bundle: Bundle
    task: type[FinetuneTask]
    spec: ModelSpec
    config: Any
    tokenizer: BaseTokenizer
    predictor: Predictor | None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        precision: str = "fp32",
        threads: int | None = None,
        use_cuda: str | bool = "auto",
        with_predictor: bool = True,
        engine: str = AUTO,
    ) -> InferenceModel:
        """Read and verify a bundle, and load it.

        Args:
            folder: the bundle, or a folder with just one in it.
            precision, threads: see ``Predictor``.
            use_cuda: see ``propeller.runtime.place``.
            with_predictor: false for what needs the text side alone.
            engine: what runs it, one of ``propeller.service.engines.ENGINES``.

        Raises:
            UserError: the bundle is damaged, of another version, or not of a task of this project; the engine is not
                installed, or has no file in the bundle.
        """
        bundle = read_bundle(folder)
        if bundle.task not in TASKS:
            raise UserError(f"{bundle.folder}: its task {bundle.task!r} is unknown here, known: {', '.join(TASKS)}")
        task = task_class(bundle.task)
        spec = ModelSpec.of(bundle.meta, task)
        tokenizer = _tokenizer(bundle, task, spec)
        predictor = None
        if with_predictor:
            predictor = Predictor(bundle, precision, threads, uses_gpu(engine, use_cuda), engine)
            log.info(describe(predictor.choice, precision, threads))
        return cls(bundle, task, spec, task.read_config(bundle.path(CONFIG)), tokenizer, predictor)

    @property
    def max_seq_len(self) -> int:
        """Longest example in tokens."""
        return self.spec.max_seq_len

    @property
    def labels(self) -> list[str]:
        """The word of each class, in their order; without a label map its number."""
        return self.spec.labels

    def reader(self, path: str, batch_size: int = 32, num_workers: int = 0) -> BatchReader:
        """The task's reader of a file without labels, in the file's order."""
        reading = Reading(batch_size=batch_size, num_workers=num_workers, labelled=False)
        return self.task.open_reader(path, self.tokenizer, self.spec, reading)

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """name -> array of a batch, see ``Predictor.run``."""
        if self.predictor is None:
            raise ValueError("opened without a predictor")
        return self.predictor.run(dict(batch))


def _tokenizer(bundle, task, spec):
    sp_model = spec.facts.get("sp_model")
    tokenizer = spec.build_tokenizer(task, bundle.path(VOCAB), str(bundle.path(sp_model)) if sp_model else None)
    if tokenizer.fingerprint != spec.tokenizer_fingerprint:
        raise UserError(
            f"{bundle.path(VOCAB)}: with it the tokenizer is not the one the model was trained with: export it again"
        )
    return tokenizer
