"""What the options of training make of a task: its train model, and the checks that need the task and the network.

check_model_options(args, task, spec, config)
spec = with_balanced_weights(spec, task, args, tokenizer, survey)
model = train_model(task, config, spec, args, optimizer)        # inside a train Program
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from ernie.config import ErnieConfig
from ernie.depth import freeze
from finetune.losses import LossOptions, balanced_weights
from finetune.training.fgm import FGM
from finetune.training.options import BALANCED, LossArgs, parse_weights
from finetune.training.rdrop import RDrop
from finetune.training.reading import reading_of
from propeller.errors import UserError
from propeller.train.model import Model, RunMode

if TYPE_CHECKING:
    from finetune.spec import ModelSpec
    from finetune.task import FinetuneTask
    from finetune.training.args import Args
    from reader.survey import Survey
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.finetune")


def check_model_options(args: Args, task: type[FinetuneTask], spec: ModelSpec, config: Any) -> None:
    """Raise UserError where an option has nothing to change in the task or the network, or does not fit them."""
    loss, optimizer = args.loss, args.optimizer
    for entry in dataclasses.fields(LossArgs):
        if getattr(loss, entry.name) != entry.default and not task.knows_loss_flag(entry.name, spec):
            teacher = " with a teacher" if entry.name in task.loss_flags else ""
            raise UserError(f"--{entry.name}: the task {task.name}{teacher} has no such loss: leave it out")
    if not isinstance(config, ErnieConfig):
        for name, used in (
            ("fgm_epsilon", loss.fgm_epsilon > 0),
            ("layer_lr_decay", optimizer.layer_lr_decay != 1.0),
            ("freeze_layers", optimizer.freeze_layers > 0),
            ("freeze_embeddings", optimizer.freeze_embeddings),
        ):
            if used:
                raise UserError(f"--{name} is for networks of encoder layers, and this one has none: leave it out")
    elif optimizer.freeze_layers > config.num_hidden_layers:
        raise UserError(
            f"--freeze_layers {optimizer.freeze_layers}: the network has {config.num_hidden_layers} layers: give fewer"
        )
    if loss.fgm_epsilon and (optimizer.freeze_layers or optimizer.freeze_embeddings):
        raise UserError("--fgm_epsilon needs the gradient of the embeddings, which are frozen: leave one of them out")
    if loss.class_weights and loss.class_weights != BALANCED:
        count = len(parse_weights(loss.class_weights))
        if count != spec.num_labels:
            raise UserError(f"--class_weights has {count} numbers for {spec.num_labels} classes: give one for each")


def loss_options(loss: LossArgs) -> LossOptions:
    """The ``LossOptions`` of the flags; without the weights of ``balanced``, which need the training file."""
    given = loss.class_weights if loss.class_weights != BALANCED else None
    return LossOptions(parse_weights(given) if given else None, loss.label_smoothing, loss.focal_gamma)


def with_balanced_weights(
    spec: ModelSpec, task: type[FinetuneTask], args: Args, tokenizer: Tokenizer, survey: Survey
) -> ModelSpec:
    """The spec with the weights of ``--class_weights balanced``, by the labels that a pass over the training file sees.

    Args:
        spec: the model.
        task: its class.
        args: the flags.
        tokenizer: what text becomes ids with.
        survey: of the training file: its bad rows are left out.

    Raises:
        UserError: a class is not in the file.
    """
    if args.loss.class_weights != BALANCED:
        return spec
    path = args.data.train_set
    once = dataclasses.replace(
        reading_of(args, training=True),
        epochs=1, shuffle=False, bucket_window=0, rank=0, world_size=1, token_cache_dir=None,
    )  # fmt: skip
    reader = task.open_reader(path, tokenizer, spec, once)
    reader.leave_out(survey)
    counts = np.zeros(spec.num_labels, np.int64)
    for batch, _ in reader.batches():
        counts += task.count_classes(batch, spec)
    names = task.labels(spec)
    weights = balanced_weights(counts, names, path)
    log.info("class weights: %s", ", ".join(f"{name} {weight:.4f}" for name, weight in zip(names, weights)))
    return spec.replace(loss=dataclasses.replace(spec.loss, class_weights=weights))


def train_model(task: type[FinetuneTask], config: Any, spec: ModelSpec, args: Args, optimizer: Any) -> Model:
    """The model of the train Program that is under construction."""
    model = task(config, spec, RunMode.TRAIN, optimizer)
    model.encoder.packed = args.train.fused_encoder == "true"
    given = args.optimizer
    if given.freeze_layers or given.freeze_embeddings:
        freeze(model.encoder, given.freeze_layers, given.freeze_embeddings)
    adversary = FGM(model.encoder, args.loss.fgm_epsilon) if args.loss.fgm_epsilon else None
    trained: Model = RDrop(model, args.loss.rdrop_alpha) if args.loss.rdrop_alpha else model
    trained.adversary = adversary
    return trained
