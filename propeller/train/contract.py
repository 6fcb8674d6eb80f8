"""What a model of one's own is, in 2019's form: a class, or a function that gives a ``ModelSpec``.

class Regression(Model):
    def __init__(self, config, mode, run_config):
        super().__init__(config, mode, run_config)
        self.layer = paddle.nn.Linear(config.width, 1)
    def forward(self, features):
        return self.layer(features[0])
    def loss(self, predictions, label):
        return paddle.nn.functional.mse_loss(predictions, label)
    def backward(self, loss):
        return paddle.optimizer.AdamW(1e-3)
    def metrics(self, predictions, label):
        return {"mse": propeller.metrics.MSE(label, predictions)}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple

from paddle import nn

from propeller.errors import UserError
from propeller.hparams import HParams, RunConfig
from propeller.train.model import RunMode


class InferenceSpec(NamedTuple):
    """What an exported model takes and gives: lists of tensors."""

    inputs: Sequence
    outputs: Sequence


@dataclass
class ModelSpec:
    """What a ``model_fn`` gives for one mode.

    Attributes:
        loss: a tensor of one element, the mean over the batch; needed in TRAIN.
        predictions: a list of tensors, first axis the batch; needed in PREDICT.
        metrics: name -> ``propeller.metrics.Metrics``; needed in EVAL.
        mode: the ``RunMode``.
        inference_spec: an ``InferenceSpec`` of the EVAL Program, or name -> ``InferenceSpec`` for several exports.
        optimizer: in TRAIN, a ``paddle.optimizer.Optimizer`` that has not minimised anything yet, or a function of the
            loss that returns one. None: ``model_fn`` has called ``minimize`` itself, which works in one process only.
    """

    loss: Any = None
    predictions: Any = None
    metrics: Mapping | None = None
    mode: RunMode | None = None
    inference_spec: Any = None
    optimizer: Any = None

    def check(self) -> ModelSpec:
        """This one, its lists made lists.

        Raises:
            UserError: what the mode needs is missing or of another form.
        """
        name = RunMode(self.mode).name if self.mode is not None else "ModelSpec"
        if self.predictions is not None and not isinstance(self.predictions, (list, tuple)):
            self.predictions = [self.predictions]
        if self.mode is RunMode.TRAIN and (self.loss is None or math.prod(self.loss.shape) != 1):
            shape = None if self.loss is None else list(self.loss.shape)
            raise UserError(f"{name}: the loss must be one number, not of shape {shape}: take its mean")
        if self.mode is RunMode.EVAL and not isinstance(self.metrics, Mapping):
            raise UserError(f"{name}: metrics must be a dict of name -> Metrics, not {type(self.metrics).__name__}")
        if self.mode is RunMode.PREDICT and not self.predictions:
            raise UserError(f"{name}: there are no predictions: give a list of tensors")
        return self

    def inference_specs(self) -> dict:
        """name -> ``InferenceSpec``; ``inference`` is the name of one without a name."""
        if self.inference_spec is None:
            return {}
        if isinstance(self.inference_spec, Mapping):
            return dict(self.inference_spec)
        return {"inference": self.inference_spec}


class Model(nn.Layer):
    """A model as a class; one is made per mode, inside the mode's static Program.

    Args:
        config: the hyper-parameters that the ``Learner`` was given.
        mode: the ``RunMode``.
        run_config: the ``RunConfig``.
    """

    def __init__(self, config: HParams, mode: RunMode, run_config: RunConfig | None = None) -> None:
        super().__init__()
        self.config, self.hparam, self.mode, self.run_config = config, config, mode, run_config

    def forward(self, features: list) -> Any:
        """A tensor, or a list of them, first axis the batch.

        Args:
            features: the tensors of the data set, in its order; in TRAIN and EVAL without the last one, the label.
        """
        raise NotImplementedError

    def loss(self, predictions: Any, label: Any) -> Any:
        """The mean loss over the batch: a tensor of one element.

        Args:
            predictions: what ``forward`` gave.
            label: the last tensor of the data set.
        """
        raise NotImplementedError

    def backward(self, loss: Any) -> Any:
        """The optimiser, in TRAIN only: a ``paddle.optimizer.Optimizer`` whose ``minimize`` was not called.

        Gradients, their sum over processes and the update are the training loop's work. As in 2019 the method may call
        ``minimize(loss)`` itself and return nothing; such a model trains in one process only.
        """
        raise NotImplementedError

    def metrics(self, predictions: Any, label: Any) -> Mapping:
        """name -> ``propeller.metrics.Metrics``, in EVAL only."""
        return {}


def model_fn_of(model_class: Callable) -> Callable:
    """The ``model_fn(features, mode, params, run_config) -> ModelSpec`` of a model class."""

    def model_fn(features, mode, params, run_config):
        model = model_class(params, mode, run_config)
        if isinstance(model, nn.Layer):
            (model.train if mode is RunMode.TRAIN else model.eval)()
        if mode is RunMode.PREDICT:
            return ModelSpec(predictions=model.forward(list(features)), mode=mode)
        if len(features) < 2:
            raise UserError(f"a data set with a label needs two columns or more, this one has {len(features)}")
        *inputs, label = features
        predictions = model.forward(inputs)
        spec = ModelSpec(loss=model.loss(predictions, label), predictions=predictions, mode=mode)
        if mode is RunMode.TRAIN:
            spec.optimizer = model.backward
            return spec
        outputs = predictions if isinstance(predictions, (list, tuple)) else [predictions]
        spec.metrics, spec.inference_spec = model.metrics(predictions, label), InferenceSpec(inputs, list(outputs))
        return spec

    return model_fn


def as_model_fn(model_class_or_model_fn: Callable) -> Callable:
    """A ``model_fn``, whichever of the two is given.

    Raises:
        UserError: it is neither.
    """
    if isinstance(model_class_or_model_fn, type):
        return model_fn_of(model_class_or_model_fn)
    if callable(model_class_or_model_fn):
        return model_class_or_model_fn
    raise UserError(f"{model_class_or_model_fn!r} is neither a model class nor a function: give one of them")
