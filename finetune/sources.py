"""What a folder given to ``finetune.load`` holds: an inference model, a checkpoint or a Hugging Face model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ernie.checkpoint import has_pooler
from ernie.config import ErnieConfig
from ernie.foreign import BY_PATH
from ernie.foreign_folder import Converted, is_foreign
from ernie.model_folder import RUN
from ernie.pooling import MEAN, Pooling
from finetune import TASKS, task_class
from finetune.embedding.pooled import TRAINED_TASK
from finetune.embedding.pooling import settled
from finetune.prediction.args import ModelArgs
from finetune.prediction.export import Checkpoint
from finetune.prediction.source import PARAMS, open_checkpoint
from finetune.spec import CONFIG, RECORD, VOCAB, check_is_of_one, read_record
from propeller.bundle import MANIFEST, holds_bundle
from propeller.errors import UserError
from propeller.train.checkpoints import instead_of

HEADLESS = "embed"  # the task of weights that say none


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weights with what belongs to them.

    Attributes:
        checkpoint: the weights.
        temporary: the model that they were converted into, or None.
    """

    checkpoint: Checkpoint
    temporary: Converted | None = None


def open_weights(folder: Path, task: str | None, vocab_path: str | None, pooling: str | None = None) -> Weights | None:
    """The weights in a folder; None where it is an inference model.

    Args:
        folder: see ``finetune.load``.
        task: what the user said of it, or None.
        vocab_path: likewise.
        pooling: of the vectors of an encoder; None: as it was trained.

    Raises:
        UserError: there is nothing of these in it, or it is damaged or incomplete.
    """
    if not folder.is_dir():
        remedy = instead_of(folder) or f"give a checkpoint, an inference model or a model directory; {BY_PATH}"
        raise UserError(f"{folder}: no such directory; {remedy}")
    if holds_bundle(folder):
        return None
    if folder.name == PARAMS and (folder.parent / CONFIG).is_file() and not (folder / RECORD).is_file():
        folder = folder.parent  # as --model takes it
    if is_foreign(folder):
        temporary = Converted(folder, pooler=False)
        return Weights(_checkpoint(temporary.path / PARAMS, task, vocab_path, folder, pooling), temporary)
    params = folder / PARAMS
    if (folder / RUN).is_file() and not params.is_dir():
        raise UserError(f"{folder}: is the directory of a run; {instead_of(folder)}")
    if not any((place / name).is_file() for place in (folder, params) for name in (RECORD, CONFIG)):
        raise UserError(
            f"{folder}: holds no checkpoint ({RECORD}), inference model ({MANIFEST}), Hugging Face model (config.json) "
            f"or model directory ({CONFIG}, params/ and {VOCAB})"
        )
    return Weights(_checkpoint(params if params.is_dir() else folder, task, vocab_path, folder, pooling))


def _checkpoint(
    params: Path, task: str | None, vocab_path: str | None, folder: Path, pooling: str | None
) -> Checkpoint:
    stored = read_record(params)
    check_is_of_one(folder, stored)
    said = None if "tasks" in stored else stored.get("task")  # a run of pre-training leaves an encoder
    name = said or task or HEADLESS
    if name not in TASKS:
        raise UserError(f"{folder}: task {name!r} is unknown here: give one of {', '.join(TASKS)}")
    if task and task != HEADLESS and said not in (None, task):
        raise UserError(f"{folder}: is of the task {said!r}, not {task!r}: leave task out")
    config = next((path for path in (params / CONFIG, params.parent / CONFIG) if path.is_file()), None)
    # As ernie_encoder.py: an encoder alone keeps blanks, unless its record tells how text became tokens.
    tells = {"task", "for_cn", "tokenizer_fingerprint"} & stored.keys()
    given = ModelArgs(
        init_checkpoint=str(params),
        for_cn=False if name == HEADLESS and not tells else None,
        vocab_path=None if vocab_path is None else str(vocab_path),
        ernie_config_path=str(config) if config and "ernie_config" not in stored else None,
    )
    checkpoint = open_checkpoint(given, stored, task_class(name))
    vectors = HEADLESS in (name, task) or name == TRAINED_TASK
    return embedding_checkpoint(checkpoint, pooling) if vectors else checkpoint


def embedding_checkpoint(checkpoint: Checkpoint, pooling: str | None = None) -> Checkpoint:
    """The encoder of a checkpoint, as a model of embeddings.

    Args:
        checkpoint: of any task.
        pooling: of the vectors; None: as the model was trained.

    Raises:
        UserError: it has no encoder, as a student.
    """
    task = task_class(HEADLESS)
    if not isinstance(checkpoint.config, ErnieConfig):
        raise UserError(f"{checkpoint.folder}: has no encoder whose vectors could be given: give a model that has one")
    pooler, layers = has_pooler(checkpoint.folder), checkpoint.config.num_hidden_layers
    facts: dict[str, Any] = {"layer": layers, "num_hidden_layers": layers, "states": False}
    if pooling:
        chosen = Pooling(pooling)
    elif checkpoint.spec.task == TRAINED_TASK:
        chosen = Pooling(checkpoint.spec.settings.pooling or MEAN)
    else:
        chosen = settled(read_record(checkpoint.folder), pooler, MEAN, checkpoint.folder)
    if checkpoint.spec.task == TRAINED_TASK:
        facts["objective"] = checkpoint.spec.settings.objective
    facts.update(pooling=chosen.name, normalize=chosen.normalize, **({} if pooler else {"pooler": False}))
    spec = checkpoint.spec.replace(
        task=task.name,
        label_map=None,
        num_labels=0,
        metric=None,
        settings=None,
        facts=facts,
        for_cn=checkpoint.spec.for_cn and checkpoint.task.drops_blanks,
    )
    return dataclasses.replace(checkpoint, task=task, spec=spec)
