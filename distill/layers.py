"""What a Transformer student learns from the inside of a teacher: hidden states and attention relations.

    teacher = LayerTeacher(student_config, settings)            # in the train Program; it is not trained, nor stored
    rows = teacher.loss(student_encoder, states, features)      # [batch]

    hidden      squared distance of the embeddings' output and of each layer's from the teacher's, mean over the tokens
                of a row; of widths that differ the student's are first multiplied by a matrix (TinyBERT, Jiao et al.
                2020, section 3.1). Layer i of S learns from layer i * T / S of T, the last one from the last.
    relation    divergence from the teacher's softened products of queries, of keys and of values with each other, in
                the last layer, mean over heads and tokens (MiniLMv2, Wang et al. 2021, section 3.1)

Both see the same tokens, so the teacher's vocabulary must be the student's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paddle
import paddle.nn.functional as F

from distill.shrink import encoder_of
from ernie.checkpoint import load_params, params_digest
from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes
from ernie.layers import Linear, frozen
from ernie.modeling import ErnieEncoder, attention_bias
from propeller.errors import UserError
from propeller.train.program import FROZEN

if TYPE_CHECKING:
    from propeller.train.trainer import Learner

PROJECTION = "distill_fc"


class LayerTeacher:
    """The frozen encoder of a teacher, and what a student of it loses.

    Args:
        config: ``ErnieConfig`` of the student.
        settings: ``layer_teacher`` (a checkpoint or a model directory), ``hidden_weight``, ``relation_weight``,
            ``relation_heads``.
    """

    def __init__(self, config: ErnieConfig, settings: Any) -> None:
        self.settings, self.config = settings, teacher_config(settings.layer_teacher)
        with frozen():
            self.encoder = ErnieEncoder(self.config)
        self.encoder.eval()
        self.heads = settings.relation_heads or self.config.num_attention_heads
        wide, narrow = self.config.hidden_size, config.hidden_size
        self.projection = (
            Linear(config, narrow, wide, PROJECTION) if settings.hidden_weight and wide != narrow else None
        )

    def loss(
        self, encoder: ErnieEncoder, states: Sequence[paddle.Tensor], features: Mapping[str, paddle.Tensor]
    ) -> paddle.Tensor:
        """The weighted loss of each row, float32 [batch].

        Args:
            encoder: the student's.
            states: its ``all_states`` of the batch.
            features: the inputs of the batch.
        """
        mask, settings = features["input_mask"], self.settings
        theirs = [state.detach() for state in self.encoder.all_states(features)]
        total = paddle.zeros_like(mask[:, 0])
        if settings.hidden_weight:
            total = total + settings.hidden_weight * self._hidden(states, theirs, mask)
        if settings.relation_weight:
            bias = attention_bias(mask)
            ours, wanted = encoder.layers[-1].attention, self.encoder.layers[-1].attention
            for name in ("query", "key", "value"):
                one = self._relation(getattr(ours, name), states[-2], bias)
                other = self._relation(getattr(wanted, name), theirs[-2], bias).detach()
                apart = (other.exp() * (other - one)).sum(axis=-1).mean(axis=1)  # [batch, seq]
                total = total + settings.relation_weight * _mean(apart, mask)
        return total

    def _hidden(self, states, theirs, mask):
        layers = len(states) - 1
        total = paddle.zeros_like(mask[:, 0])
        for number, state in enumerate(states):
            if self.projection is not None:
                state = self.projection(state)
            distance = ((state - theirs[number * (len(theirs) - 1) // layers]) ** 2).mean(axis=-1)  # [batch, seq]
            total = total + _mean(distance, mask)
        return total / len(states)

    def _relation(self, layer, states, bias):
        """Logarithms of the relations [batch, heads, seq, seq] of a layer's queries, keys or values."""
        vectors = layer(states)  # [batch, seq, hidden]
        size = vectors.shape[-1] // self.heads
        shape = paddle.shape(vectors)
        vectors = vectors.reshape([shape[0], shape[1], self.heads, size]).transpose([0, 2, 1, 3])
        products = paddle.matmul(vectors, vectors, transpose_y=True) * size**-0.5 + bias
        return F.log_softmax(products)


def _mean(values, mask):
    """The mean over the tokens of each row: [batch, seq] -> [batch]."""
    return (values * mask).sum(axis=1) / mask.sum(axis=1).clip(min=1.0)  # a process without a batch has no token


def teacher_config(source: str) -> ErnieConfig:
    """The configuration of a teacher. Raises UserError: it is no model with an encoder."""
    return ErnieConfig(encoder_of(Path(source))[1], source=source)


def check_layers(config: Any, settings: Any, fingerprint: str | None) -> None:
    """Raise UserError where student and teacher do not go together.

    Args:
        config: of the student.
        settings: its flags.
        fingerprint: of the student's tokenizer, or None where it is not known yet.
    """
    source = settings.layer_teacher
    if not isinstance(config, ErnieConfig):
        raise UserError(f"--layer_teacher: a student of the network {config.network!r} has no layers like a teacher's: "
                        "leave it out, or take a Transformer student")  # fmt: skip
    teacher, stored = teacher_config(source), encoder_of(Path(source))[2]
    known = stored.get("tokenizer_fingerprint")
    if teacher.vocab_size != config.vocab_size or (known and fingerprint and known != fingerprint):
        raise UserError(f"--layer_teacher {source}: reads text otherwise than the student: both need one vocabulary "
                        "and the same --tokenizer, --do_lower_case and --for_cn")  # fmt: skip
    if settings.hidden_weight and teacher.num_hidden_layers < config.num_hidden_layers:
        raise UserError(f"--layer_teacher {source}: has {teacher.num_hidden_layers} layers, the student "
                        f"{config.num_hidden_layers}: give a teacher of as many or more")  # fmt: skip
    heads = settings.relation_heads or teacher.num_attention_heads
    if settings.relation_weight and (teacher.hidden_size % heads or config.hidden_size % heads):
        raise UserError(f"--relation_heads {heads}: must divide the hidden sizes {teacher.hidden_size} and "
                        f"{config.hidden_size} of teacher and student")  # fmt: skip
    if teacher.max_position_embeddings < config.max_position_embeddings:
        raise UserError(f"--layer_teacher {source}: has {teacher.max_position_embeddings} positions, the student "
                        f"{config.max_position_embeddings}: give the student no more")  # fmt: skip


def load_layers(learner: Learner, source: str) -> None:
    """Set the frozen weights of a learner's train Program from a teacher."""
    params, values, _ = encoder_of(Path(source))
    arrays, _ = load_params(params, encoder_shapes(ErnieConfig(values, source=source)), heads_optional=False)
    learner.write({f"{name}{FROZEN}": array for name, array in arrays.items()})


def layers_digest(source: str) -> str:
    """sha256 of a teacher's weights."""
    return params_digest(encoder_of(Path(source))[0])
