"""A fine-tuned checkpoint, or weights of an encoder, as an inference model (a bundle, see ``propeller.bundle``).

export_checkpoint("saved/best_inference_model", Checkpoint("output/best", Classifier, spec, config, "vocab.txt"))
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie.checkpoint import load_params
from ernie.export import export_bundle
from finetune.prediction.int8 import Int8
from finetune.spec import ModelSpec
from finetune.task import FinetuneTask
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig

if TYPE_CHECKING:
    from tokenization_base import BaseTokenizer

log = logging.getLogger("ernie.finetune")


@dataclass(frozen=True)
class Checkpoint:
    """Weights with what belongs to them.

    Attributes:
        folder: the checkpoint, or a ``params/`` folder.
        task: the ``FinetuneTask`` class.
        spec: ``ModelSpec``.
        config: the network, see ``FinetuneTask.read_config``.
        vocab_path: the vocabulary.
        tokenizer: made from it.
    """

    folder: Path
    task: type[FinetuneTask]
    spec: ModelSpec
    config: Any
    vocab_path: str
    tokenizer: BaseTokenizer


def load_weights(learner: Learner, folder: str | Path) -> None:
    """Fill the prediction Program of a learner from a checkpoint, where every weight must be that the Program uses."""
    wanted, unused = learner.parameter_shapes(RunMode.PREDICT), learner.unused_parameters(RunMode.PREDICT)
    arrays, report = load_params(folder, wanted, heads_optional=False, unused=unused)
    log.info("%s: %s", folder, report.summary())
    learner.write(arrays)


def export_checkpoint(
    folder: str | Path,
    checkpoint: Checkpoint,
    place: Any = None,
    onnx: bool = False,
    overwrite: bool = False,
    int8: Int8 | None = None,
) -> Path:
    """Write a checkpoint as a bundle; returns its directory.

    Args:
        folder: the new directory.
        place: the Paddle place, or None for the CPU.
        onnx: whether ``model.onnx`` is added.
        overwrite: whether a directory that is there is replaced.
        int8: adds ``model.int8.onnx`` unless it changes too many answers; None: it is not wanted.

    Raises:
        UserError: weights are missing; int8 loses too much; see ``ernie.export.export_bundle``.
    """
    task, spec, config = checkpoint.task, checkpoint.spec, checkpoint.config
    learner = Learner(lambda mode: task(config, spec, mode), RunConfig(place=place))
    load_weights(learner, checkpoint.folder)
    learner.write(getattr(task, "fixed_weights", {}))
    facts = spec.replace(tokenizer_fingerprint=checkpoint.tokenizer.fingerprint, network=None).record()
    sp_model, word_dict = (getattr(checkpoint.tokenizer, name, None) for name in ("sp_model", "word_dict"))
    files = (checkpoint.vocab_path, sp_model, word_dict, checkpoint.tokenizer.added_tokens.source)
    check = (lambda temporary, _: int8.check(temporary, checkpoint)) if int8 else None
    return export_bundle(learner, folder, facts, config, *files, onnx=onnx, overwrite=overwrite, check_int8=check)
