"""The ERNIE encoder and its pre-training heads (arXiv 1904.09223; 1907.12412, section 3).

    encoder = ErnieEncoder(ErnieConfig("ernie_config.json"))
    states = encoder(features)                    # [batch, seq, hidden]
    pooled = encoder.pool(states)                 # [batch, hidden]

The layers run eagerly and under ``paddle.static.program_guard``; every parameter has the fixed name that released
checkpoints use, so Programs built apart share their variables through the scope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ernie.layers import LayerNorm, Linear, add_bias, parameter, truncated_normal
from propeller.errors import UserError

if TYPE_CHECKING:
    from ernie.config import ErnieConfig

ENCODER_FEATURES = ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask")


class SelfAttention(nn.Layer):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2), tokens kept flat outside the product."""

    def __init__(self, config: ErnieConfig, name: str) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.heads = config.num_attention_heads
        self.head_size = hidden // self.heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = Linear(config, hidden, hidden, f"{name}_query_fc")
        self.key = Linear(config, hidden, hidden, f"{name}_key_fc")
        self.value = Linear(config, hidden, hidden, f"{name}_value_fc")
        self.output = Linear(config, hidden, hidden, f"{name}_output_fc")

    def forward(self, x: paddle.Tensor, shape: Sequence[Any], bias: paddle.Tensor) -> paddle.Tensor:
        """x: [batch * seq, hidden]; shape: [batch, seq] as a tensor or ints; bias: [batch, 1, seq, seq]."""
        batch, seq = shape
        # One product for the three: checkpoints keep them apart, the graph puts them side by side.
        weight = paddle.concat([self.query.weight, self.key.weight, self.value.weight], axis=1)
        offset = paddle.concat([self.query.bias, self.key.bias, self.value.bias])
        mixed = add_bias(paddle.matmul(x, weight), offset, self.training)  # [batch * seq, 3 * hidden]
        mixed = mixed.reshape([batch, seq, 3, self.heads, self.head_size]).transpose([2, 0, 3, 1, 4])
        query, key, value = mixed.unbind(0)  # [batch, heads, seq, head_size]
        # Scaled after the product, as in 2019: then even the noise in the key bias's gradient is close to the record.
        scores = paddle.matmul(query, key, transpose_y=True) * self.head_size**-0.5 + bias
        weights = F.dropout(F.softmax(scores), self.dropout, training=self.training)  # [batch, heads, query, key]
        context = paddle.matmul(weights, value).transpose([0, 2, 1, 3])  # [batch, seq, heads, head_size]
        return self.output(context.reshape([-1, self.heads * self.head_size]))


class EncoderLayer(nn.Layer):
    """Attention and feed-forward, each followed by dropout, addition and layer norm (post-norm)."""

    def __init__(self, config: ErnieConfig, name: str) -> None:
        super().__init__()
        self.attention = SelfAttention(config, f"{name}_multi_head_att")
        self.attention_norm = LayerNorm(config, f"{name}_post_att_layer_norm")
        self.ffn_in = Linear(
            config, config.hidden_size, config.intermediate_size, f"{name}_ffn_fc_0", act=config.hidden_act
        )
        self.ffn_out = Linear(config, config.intermediate_size, config.hidden_size, f"{name}_ffn_fc_1")
        self.ffn_norm = LayerNorm(config, f"{name}_post_ffn_layer_norm")
        self.dropout = config.hidden_dropout_prob

    def forward(self, x: paddle.Tensor, shape: Sequence[Any], bias: paddle.Tensor) -> paddle.Tensor:
        """x: [batch * seq, hidden] -> the same shape."""
        attended = self.attention(x, shape, bias)
        x = self.attention_norm(x + F.dropout(attended, self.dropout, training=self.training))
        expanded = self.ffn_out(self.ffn_in(x))
        return self.ffn_norm(x + F.dropout(expanded, self.dropout, training=self.training))


class Embeddings(nn.Layer):
    """Sum of word, position, sentence and, if the configuration says so, task embedding; layer norm; dropout."""

    def __init__(self, config: ErnieConfig) -> None:
        super().__init__()
        tables = {
            "src_ids": _Table(config, "word_embedding", config.vocab_size),
            "pos_ids": _Table(config, "pos_embedding", config.max_position_embeddings),
            "sent_ids": _Table(config, "sent_embedding", config.sent_type_vocab_size),
        }
        if config.use_task_id:
            tables["task_ids"] = _Table(config, "task_embedding", config.task_type_vocab_size)
        self.tables = nn.LayerDict(tables)
        self.norm = LayerNorm(config, "pre_encoder_layer_norm")
        self.dropout = config.hidden_dropout_prob

    @property
    def word_embedding(self) -> paddle.Tensor:
        """The word embedding [vocab, hidden], tied to the masked-LM output."""
        return self.tables["src_ids"].weight

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """features: ids int64 [batch, seq] by name -> [batch * seq, hidden]."""
        total = None
        for name, table in self.tables.items():
            rows = table(features[name].flatten())
            total = rows if total is None else total + rows
        return F.dropout(self.norm(total), self.dropout, training=self.training)


class _Table(nn.Layer):
    def __init__(self, config, name, rows) -> None:
        super().__init__()
        self.weight = parameter(self, name, [rows, config.hidden_size], truncated_normal(config))

    def forward(self, ids):
        return F.embedding(ids, self.weight)


class ErnieEncoder(nn.Layer):
    """Transformer encoder with task embeddings (arXiv 1907.12412, figure 2) and the pooler over its first token.

    Args:
        config: an ``ErnieConfig``.

    Attributes:
        packed: whether, while training, the layers are those of ``ernie/packed.py``, which see no padding; set by what
            builds the training Program.
    """

    def __init__(self, config: ErnieConfig) -> None:
        super().__init__()
        self.config = config
        self.packed = False
        self.embeddings = Embeddings(config)
        self.layers = nn.LayerList(
            [EncoderLayer(config, f"encoder_layer_{i}") for i in range(config.num_hidden_layers)]
        )
        self.pooler = Linear(config, config.hidden_size, config.hidden_size, "pooled_fc", act="tanh")

    @property
    def word_embedding(self) -> paddle.Tensor:
        """The word embedding [vocab, hidden]."""
        return self.embeddings.word_embedding

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """Encode a batch.

        Args:
            features: ``src_ids, sent_ids, pos_ids`` (and ``task_ids`` with ``use_task_id``) int64 [batch, seq] and
                ``input_mask`` float32 [batch, seq], 1 for tokens and 0 for padding.

        Returns:
            float32 [batch, seq, hidden], the top layer's states.
        """
        if self.skips_padding:
            from ernie import packed  # imported by what trains with it alone

            return packed.last_states(self, features, _batch_and_seq(features["src_ids"]))
        return self.all_states(features)[-1]

    def all_states(self, features: Mapping[str, paddle.Tensor]) -> list[paddle.Tensor]:
        """Like ``forward``; a list of [batch, seq, hidden]: the embeddings' output, then each layer's."""
        shape = _batch_and_seq(features["src_ids"])
        if self.skips_padding:
            from ernie import packed

            return packed.all_states(self, features, shape)
        bias = attention_bias(features["input_mask"])
        x = self.embeddings(features)  # [batch * seq, hidden]
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1], shape, bias))
        return [state.reshape([*shape, self.config.hidden_size]) for state in states]

    @property
    def skips_padding(self) -> bool:
        """Whether states of padding are 0 here, and mean nothing."""
        return self.packed and self.training

    def pool(self, states: paddle.Tensor) -> paddle.Tensor:
        """[batch, seq, hidden] -> [batch, hidden]: dense layer with tanh over the first token, [CLS]."""
        return self.pooler(states[:, 0])


def _batch_and_seq(ids):
    """Sizes for reshapes: ints eagerly, scalar tensors in a Program (``0`` in a reshape breaks ONNX export)."""
    if paddle.in_dynamic_mode():
        return ids.shape
    shape = paddle.shape(ids)
    return [shape[0], shape[1]]


def attention_bias(input_mask: paddle.Tensor) -> paddle.Tensor:
    """0 where query and key both are tokens, -10000 elsewhere: [batch, seq] -> [batch, 1, seq, seq].

    As in 2019, a padded query sees nothing but -10000, so it attends everywhere alike: its state is of no use, but the
    tagging loss of 2019 averages over it.
    """
    # A product of broadcast axes: oneDNN's matrix product over one column reads memory it should not, and gives NaN.
    seen = input_mask.unsqueeze(-1) * input_mask.unsqueeze(1)  # [batch, query, key]
    return ((seen - 1.0) * 10000.0).unsqueeze(1)


class MaskedLMHead(nn.Layer):
    """Scores over the vocabulary at masked positions (Devlin et al. 2018, section 3.1).

    Args:
        encoder: the ``ErnieEncoder`` whose word embedding is the output weight when ``weight_sharing``.
        norm_bias: what ``mask_lm_trans_layer_norm_bias`` starts at: 1.0 in ERNIE 2.0's code, 0.0 in ERNIE 1.0's.
        name: what its parameters' names begin with.
    """

    def __init__(
        self,
        config: ErnieConfig,
        encoder: ErnieEncoder,
        weight_sharing: bool = True,
        norm_bias: float = 1.0,
        name: str = "mask_lm",
    ) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.transform = Linear(config, hidden, hidden, f"{name}_trans_fc", act=config.hidden_act)
        self.norm = LayerNorm(config, f"{name}_trans_layer_norm", norm_bias)
        self.output_bias = parameter(self, f"{name}_out_fc.b_0", [config.vocab_size], nn.initializer.Constant(0.0))
        self.shared = weight_sharing
        self._fused = lambda: encoder.skips_padding  # the encoder itself would become a part of the head
        if weight_sharing:
            self.output_weight = encoder.word_embedding
        else:
            self.output_weight = parameter(
                self, f"{name}_out_fc.w_0", [hidden, config.vocab_size], truncated_normal(config)
            )

    def forward(self, states: paddle.Tensor, mask_pos: paddle.Tensor) -> paddle.Tensor:
        """states: [batch, seq, hidden]; mask_pos: int64 [masked], indices into batch * seq -> [masked, vocab]."""
        return self.scores(paddle.gather(states.reshape([-1, states.shape[-1]]), mask_pos))

    def scores(self, picked: paddle.Tensor) -> paddle.Tensor:
        """picked: the states of masked places, [masked, hidden] -> [masked, vocab]."""
        picked = self.norm(self.transform(picked))
        if self._fused():
            from ernie import operators  # imported by what trains with it alone

            return operators.scores(picked, self.output_weight, self.output_bias, self.shared)
        scores = paddle.matmul(picked, self.output_weight, transpose_y=self.shared)
        return add_bias(scores, self.output_bias, self.training)


class SentencePairHead(nn.Layer):
    """Classes for an example from its pooled vector, parameters ``<name>_fc``; ``next_sent`` is ERNIE 1.0's."""

    def __init__(self, config: ErnieConfig, name: str = "next_sent", num_labels: int = 2) -> None:
        super().__init__()
        self.output = Linear(config, config.hidden_size, num_labels, f"{name}_fc")

    def forward(self, pooled: paddle.Tensor) -> paddle.Tensor:
        """pooled: [batch, hidden] -> [batch, num_labels]."""
        return self.output(pooled)


class ErnieModel:
    """The 2019 class: the network built over given inputs, its outputs asked for by method.

    Args:
        src_ids, position_ids, sentence_ids, task_ids: int64 [batch, seq], or [batch, seq, 1] as in 2019; ``task_ids``
            may be None without ``use_task_id`` in the configuration.
        input_mask: float32 [batch, seq] or [batch, seq, 1].
        config: an ``ErnieConfig``.
        weight_sharing: whether the masked-LM output is the word embedding.
        use_fp16: whether matrix products are computed in fp16, on a GPU; weights, layer norms and outputs stay float32.

    Raises:
        UserError: ``use_fp16`` on a CPU.
    """

    def __init__(
        self,
        src_ids: paddle.Tensor,
        position_ids: paddle.Tensor,
        sentence_ids: paddle.Tensor,
        task_ids: paddle.Tensor | None,
        input_mask: paddle.Tensor,
        config: ErnieConfig,
        weight_sharing: bool = True,
        use_fp16: bool = False,
    ) -> None:
        if use_fp16 and paddle.get_device() == "cpu":
            raise UserError("use_fp16=True needs a GPU: call paddle.set_device('gpu:0') before, or leave it out")
        features = (src_ids, sentence_ids, position_ids, task_ids, input_mask)
        named = {name: value if value is None or len(value.shape) == 2 else value.squeeze(-1)
                 for name, value in zip(ENCODER_FEATURES, features)}  # fmt: skip
        self.config, self.weight_sharing, self.use_fp16 = config, weight_sharing, use_fp16
        self.encoder = ErnieEncoder(config)
        with self._precision():
            self._states = self.encoder(named)
        self._states = self._states.astype("float32")

    def _precision(self):
        return paddle.amp.auto_cast(self.use_fp16, level="O1", dtype="float16")

    def get_sequence_output(self) -> paddle.Tensor:
        """float32 [batch, seq, hidden]."""
        return self._states

    def get_pooled_output(self) -> paddle.Tensor:
        """float32 [batch, hidden]."""
        with self._precision():
            pooled = self.encoder.pool(self._states)
        return pooled.astype("float32")

    def get_lm_output(self, mask_label: paddle.Tensor, mask_pos: paddle.Tensor) -> paddle.Tensor:
        """Mean cross entropy, a scalar; mask_label, mask_pos: int64 [masked] or [masked, 1]."""
        return self._lm_loss(mask_label, mask_pos, norm_bias=1.0)

    def _lm_loss(self, mask_label, mask_pos, norm_bias):
        head = MaskedLMHead(self.config, self.encoder, self.weight_sharing, norm_bias)
        with self._precision():
            scores = head(self._states, mask_pos.flatten())
        return F.cross_entropy(scores.astype("float32"), mask_label.flatten())

    def get_task_output(
        self, task: Mapping[str, Any], task_labels: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The loss and accuracy of a classification from the pooled vector, parameters ``<task_name>_fc``.

        Args:
            task: ``task_name`` and ``num_labels``.
            task_labels: int64 [batch] or [batch, 1].

        Returns:
            (mean cross entropy, accuracy), scalars.
        """
        head = SentencePairHead(self.config, task["task_name"], task["num_labels"])
        pooled = self.get_pooled_output()
        with self._precision():
            logits = head(pooled)
        logits, labels = logits.astype("float32"), task_labels.reshape([-1, 1])
        hits = (logits.argmax(axis=-1, keepdim=True) == labels).astype("float32")
        return F.cross_entropy(logits, labels), hits.mean()

    def get_next_sentence_output(self, labels: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """(accuracy, mean cross entropy), scalars; labels: int64 [batch] or [batch, 1]."""
        loss, accuracy = self.get_task_output({"task_name": "next_sent", "num_labels": 2}, labels)
        return accuracy, loss

    def get_pretraining_output(
        self, mask_label: paddle.Tensor, mask_pos: paddle.Tensor, labels: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """What ERNIE 1.0 is pre-trained with: masked words and next sentence.

        Args:
            mask_label, mask_pos: int64 [masked] or [masked, 1].
            labels: int64 [batch] or [batch, 1], 1 where the second sentence follows the first.

        Returns:
            (accuracy of the next sentence, mean cross entropy of the masked words, sum of both losses), scalars.
        """
        accuracy, pair_loss = self.get_next_sentence_output(labels)
        lm_loss = self._lm_loss(mask_label, mask_pos, norm_bias=0.0)
        return accuracy, lm_loss, lm_loss + pair_loss
