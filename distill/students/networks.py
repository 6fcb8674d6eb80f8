"""Student networks: bag of words, convolutions over words (Kim 2014), bidirectional LSTM.

    network = make_network(config)
    states = network(features)                        # [batch, seq, states]
    vector = network.pooled(features)                 # [batch, hidden]

All of them see the ids that the encoder's inputs hold, and pool over words alone, without [CLS], [SEP] and padding.
With ``pairs`` the two texts of an example are pooled apart into u and v, and the vector is made of u, v, |u - v| and
u * v (Conneau et al. 2017, section 3.1). What a row gives does not depend on the rows beside it, nor on their length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ernie.layers import Linear, truncated_normal

PREFIXES = ("middle_fc", "conv_", "lstm_")  # of all parameters but the word embedding
NOWHERE = -1e4  # in place of a state that a maximum must not take


class StudentNetwork(nn.Layer):
    """What the networks share: the embedding, and which places are words.

    Args:
        config: ``StudentConfig``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        shape = [config.vocab_size, config.embedding_size]
        attr = paddle.ParamAttr(name="word_embedding", initializer=truncated_normal(config))
        self.table = self.create_parameter(shape, attr=attr)

    @property
    def layers(self) -> tuple[nn.Layer, ...]:
        """Nothing whose inside is worth computing twice."""
        return ()

    def embed(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """float32 [batch, seq, embedding], 0 at padding."""
        vectors = F.embedding(features["src_ids"], self.table) * features["input_mask"].unsqueeze(-1)
        return F.dropout(vectors, self.config.hidden_dropout_prob, training=self.training)

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The vector of each token, float32 [batch, seq, states]."""
        raise NotImplementedError

    def pool(self, states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """The greatest of each column over the places of a mask; 0 where there is none.

        Args:
            states: [batch, seq, n].
            mask: float32 [batch, seq].
        """
        mask = mask.unsqueeze(-1)  # [batch, seq, 1]
        return (states * mask + (1.0 - mask) * NOWHERE).max(axis=1) * mask.max(axis=1)

    def pooled(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The vector of each example, float32 [batch, hidden]."""
        states = self(features)
        words, second = word_masks(features)
        if not self.config.pairs:
            return self.pool(states, words)
        one, other = self.pool(states, words * (1.0 - second)), self.pool(states, words * second)
        return paddle.concat([one, other, (one - other).abs(), one * other], axis=-1)


def word_masks(features: Mapping[str, paddle.Tensor]) -> tuple[paddle.Tensor, paddle.Tensor]:
    """(1 at words, 1 at the second text), float32 [batch, seq] each, from ``input_mask`` and ``sent_ids``.

    The first place is [CLS]. A [SEP] is the last place of its text: the one after it is of another, or padding.
    """
    mask, second = features["input_mask"], features["sent_ids"].astype("float32")
    nothing = paddle.zeros_like(mask[:, :1])
    after = paddle.concat([mask[:, 1:], nothing], axis=1)  # 1 where a token follows
    changed = (paddle.concat([second[:, 1:], nothing], axis=1) - second).abs()  # 1 where it is of the other text
    first = paddle.concat([nothing, paddle.ones_like(mask[:, 1:])], axis=1)
    return first * after * (1.0 - changed), second


class BagOfWords(StudentNetwork):
    """2019's student: the sum of the words' vectors, softsign, a dense layer with tanh."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        size = config.embedding_size * (4 if config.pairs else 1)
        self.middle = Linear(config, size, config.hidden_size, "middle_fc", act="tanh")

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The words' own vectors [batch, seq, embedding]."""
        return self.embed(features)

    def pool(self, states: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:
        """softsign of the sum over the places of a mask [batch, embedding]."""
        return F.softsign((states * mask.unsqueeze(-1)).sum(axis=1))

    def pooled(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """The vector of each example, float32 [batch, hidden]."""
        return self.middle(super().pooled(features))


class Convolutions(StudentNetwork):
    """Filters over windows of words, relu, the maximum over time (Kim 2014, section 2)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        sizes = [(width, width * config.embedding_size) for width in config.windows]
        self.filters = nn.LayerList(
            [Linear(config, size, config.filters, f"conv_{width}", act="relu") for width, size in sizes]
        )

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """[batch, seq, windows * filters]; a window is centred on its place and sees 0 beyond the text."""
        words = self.embed(features)
        # A product over words side by side: its gradient is far quicker on a CPU than that of a convolution.
        return paddle.concat([layer(side_by_side(words, width))
                              for width, layer in zip(self.config.windows, self.filters)], axis=-1)  # fmt: skip


def side_by_side(words: paddle.Tensor, width: int) -> paddle.Tensor:
    """Each place with its neighbours, [batch, seq, width * n], from [batch, seq, n]; 0 beyond the ends."""
    if width == 1:
        return words
    parts = [words]
    for away in range(1, width // 2 + 1):  # not F.pad: oneDNN's kernel of it fails in an inference model
        parts.append(_shifted(words, away))
        if len(parts) < width:
            parts.insert(0, _shifted(words, -away))
    return paddle.concat(parts, axis=-1)


def _shifted(words, away):
    """The word ``away`` places on, before for a negative number; a row of 0 at a time, for texts shorter than that."""
    nothing = paddle.zeros_like(words[:, :1])
    for _ in range(abs(away)):
        parts = [words[:, 1:], nothing] if away > 0 else [nothing, words[:, :-1]]
        words = paddle.concat(parts, axis=1)
    return words


class BiLstm(StudentNetwork):
    """One bidirectional LSTM over the words, the maximum over time (Conneau et al. 2017, section 3.2)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        size, bound = config.lstm_size, config.lstm_size**-0.5
        uniform = nn.initializer.Uniform(-bound, bound)  # Paddle's own for an LSTM

        # In the order of Paddle's operator: the weights of both directions, then the biases.
        sides = [f"lstm_{way}_{side}" for way in ("forward", "backward") for side in ("in", "state")]
        widths = [config.embedding_size, size] * 2
        shapes = {f"{side}.w_0": [4 * size, width] for side, width in zip(sides, widths)}
        shapes.update({f"{side}.b_0": [4 * size] for side in sides})
        self.weights = []
        for name, shape in shapes.items():
            made = self.create_parameter(shape, attr=paddle.ParamAttr(name=name, initializer=uniform))
            setattr(self, name.replace(".", "_"), made)  # so that the layer has it among its parameters
            self.weights.append(made)

    def forward(self, features: Mapping[str, paddle.Tensor]) -> paddle.Tensor:
        """[batch, seq, 2 * lstm_size]; the backward direction begins at each text's own end."""
        size = self.config.lstm_size
        words = self.embed(features).transpose([1, 0, 2])  # [seq, batch, embedding]
        lengths = features["input_mask"].sum(axis=1).astype("int32")
        begin = paddle.zeros_like(words[0, :, :1]).expand([-1, size])  # [batch, size]
        state = paddle.stack([begin, begin])  # [directions, batch, size]
        # nn.LSTM keeps the state of its dropout, though there is none, as a parameter of bytes: not so here.
        states = paddle._C_ops.rnn(
            words, [state, state], self.weights, lengths, paddle.zeros([1], "uint8"), 0.0, True,
            self.config.embedding_size, size, 1, "LSTM", 0, not self.training,
        )[0]  # fmt: skip
        return states.transpose([1, 0, 2])


_CLASSES = {"bow": BagOfWords, "cnn": Convolutions, "bilstm": BiLstm}


def make_network(config: Any) -> StudentNetwork:
    """The network of a ``StudentConfig``."""
    return _CLASSES[config.network](config)
