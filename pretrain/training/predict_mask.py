"""Filling the [MASK]s of sentences with a pre-trained model, as a look at what it has learnt.

    python train.py ... --init_checkpoint checkpoints/last --predict_mask "北京是中国的[MASK][MASK]。"
    python train.py ... --init_checkpoint checkpoints/last --predict_mask sentences.txt          # a sentence a line

Each [MASK] stands for one piece. [MASK]s side by side are one unit, a word, phrase or entity, and filled jointly: its
pieces are taken from left to right, each given those chosen before it, and the probability of a filling is the product
of theirs (the chain rule); a beam keeps the likeliest beginnings. For one [MASK] that is the exact answer. Units apart
from each other are filled each for itself, the others left masked. Special pieces are no answers.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Callable, NamedTuple

import numpy as np

from pretrain import DEFAULT_TASK
from pretrain.training.args import Args
from propeller.encoding import read_text
from propeller.errors import UserError

if TYPE_CHECKING:
    from pretrain.training.runner import Pretrainer
    from tokenization_base import BaseTokenizer

MASK = "[MASK]"
BEAM = 4  # beginnings kept, as many times as fillings are wanted
ROWS = 32  # a batch
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")


class Filling(NamedTuple):
    """tokens: a piece for each [MASK] of the unit; probability: of all of them together."""

    tokens: tuple
    probability: float


class MaskFiller:
    """Fills [MASK]s.

    Args:
        predict: from a batch (``src_ids``, ``sent_ids``, ``pos_ids``, ``task_ids``, ``input_mask``, ``mask_pos``) to
            the scores over the vocabulary, float [masked, vocab].
        tokenizer: of the model.
        max_seq_len: longest sentence in tokens, [CLS] and [SEP] too.
    """

    def __init__(
        self, predict: Callable[[dict], np.ndarray], tokenizer: BaseTokenizer, max_seq_len: int, task_id: int = 0
    ) -> None:
        self.predict, self.tokenizer = predict, tokenizer
        self.max_seq_len, self.task_id = max_seq_len, task_id
        self.barred = [tokenizer.vocab[token] for token in SPECIAL if token in tokenizer.vocab]
        self.known = np.array(sorted(tokenizer.vocab.values()))  # the output layer may have more than the vocabulary

    def encode(self, text: str) -> tuple[list[int], list[list[int]]]:
        """(ids, list of units), a unit being the consecutive places of its [MASK]s.

        Raises:
            UserError: no [MASK], or too long.
        """
        parts = text.split(MASK)
        if len(parts) == 1:
            raise UserError(f"{_shown(text)} has no {MASK}: write one for each piece to fill in, as in 天[MASK]好")
        ids = [self.tokenizer.cls_id]
        units: list[list[int]] = []
        for number, part in enumerate(parts):
            if number:
                if units and units[-1][-1] == len(ids) - 1:
                    units[-1].append(len(ids))
                else:
                    units.append([len(ids)])
                ids.append(self.tokenizer.mask_id)
            ids += [int(i) for i in self.tokenizer.encode(part)]
        ids.append(self.tokenizer.sep_id)
        if len(ids) > self.max_seq_len:
            raise UserError(f"{_shown(text)} has {len(ids)} tokens, --max_seq_len is {self.max_seq_len}: shorten it")
        return ids, units

    def fill(self, text: str, top: int = 5) -> list[list[Filling]]:
        """Of each unit of the text its ``top`` likeliest ``Filling``s, the best first."""
        ids, units = self.encode(text)
        return [self._fill_unit(ids, unit, top) for unit in units]

    def filled(self, text: str, units: Sequence[Filling]) -> str:
        """The text with a ``Filling`` for each of its units."""
        pieces = [piece for filling in units for piece in filling.tokens]
        result = ""
        for number, part in enumerate(text.split(MASK)):
            piece = pieces[number - 1] if number else ""
            result = joined(result, piece) + part
        return result

    def _fill_unit(self, ids, unit, top):
        beams = [((), 0.0)]
        for place in unit:
            scores = self._log_probabilities(ids, unit, beams, place)  # [beams, vocab]
            kept = top if place == unit[-1] else BEAM * top
            total = scores + np.array([score for _, score in beams])[:, None]
            count = min(kept, int(np.isfinite(total).sum()))
            best = np.argsort(-total, axis=None, kind="stable")[:count]
            rows, tokens = np.unravel_index(best, total.shape)
            beams = [((*beams[row][0], int(token)), float(total[row, token])) for row, token in zip(rows, tokens)]
        return [Filling(tuple(self.tokenizer.convert_ids_to_tokens(list(t))), float(np.exp(s))) for t, s in beams]

    def _log_probabilities(self, ids, unit, beams, place):
        rows = np.tile(np.array(ids, np.int64), (len(beams), 1))
        for row, (tokens, _) in zip(rows, beams):
            row[unit[: len(tokens)]] = tokens
        found = [self.predict(self._batch(rows[at : at + ROWS], place)) for at in range(0, len(rows), ROWS)]
        scores = np.concatenate(found).astype(np.float64)
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        allowed = np.full_like(scores, -np.inf)
        allowed[:, self.known] = scores[:, self.known]
        allowed[:, self.barred] = -np.inf
        return allowed

    def _batch(self, rows, place):
        count, length = rows.shape
        return {
            "src_ids": rows,
            "sent_ids": np.zeros_like(rows),
            "pos_ids": np.tile(np.arange(length, dtype=np.int64), (count, 1)),
            "task_ids": np.full_like(rows, self.task_id),
            "input_mask": np.ones(rows.shape, np.float32),
            "mask_pos": (np.arange(count, dtype=np.int64) * length + place).reshape(-1, 1),
        }


def joined(text: str, piece: str) -> str:
    """The text with one more piece after it: ##s goes on with its word, words have a blank between, Chinese none."""
    if piece.startswith("##"):
        return text + piece[2:]
    word = bool(text) and bool(piece) and _is_letter(text[-1]) and _is_letter(piece[0])
    return f"{text} {piece}" if word else text + piece


def _is_letter(char):
    return char.isalnum() and unicodedata.category(char) != "Lo"


def _shown(text):
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def sentences(given: str) -> list[tuple[str, str]]:
    """(where it stands, or "", sentence) of ``--predict_mask``: a sentence, a file of them, or - for standard input.

    Raises:
        UserError: neither a sentence with a [MASK] nor a file; a file without a sentence.
    """
    if MASK in given:
        return [("", given)]
    if given == "-":
        name, lines = "standard input", sys.stdin.read().splitlines()
    else:
        try:
            name, lines = given, read_text(given).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"--predict_mask {_shown(given)} has no {MASK}, nor is it a file of sentences ({error}): "
                "give one or the other"
            ) from error
    found = [(f"{name}, line {number}: ", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UserError(f"{name}: no sentence: give one a line, with {MASK} for each piece to fill in")
    return found


def fill_all(pretrainer: Pretrainer, args: Args) -> None:
    """Print the fillings of all sentences of ``--predict_mask``: a line each, rank, probability, pieces, sentence."""
    given = sentences(args.run.predict_mask)
    learner = pretrainer.open_checkpoint()

    def predict(batch):
        return next(iter(learner.predict([(batch, None)])))[0]["mask_lm_logits"]

    longest = args.model.longest(pretrainer.config)
    filler = MaskFiller(predict, pretrainer.tokenizer, longest, pretrainer.tasks[DEFAULT_TASK].entry.task_id)
    for where, text in given:
        try:
            units = filler.fill(text, args.run.top)
        except UserError as error:
            raise UserError(f"{where}{error}") from error
        best = [fillings[0] for fillings in units]
        print(text)
        for number, fillings in enumerate(units):
            if len(units) > 1:
                print(f"  {MASK} {number + 1} of {len(units)}")
            for rank, filling in enumerate(fillings, 1):
                chosen = [*best[:number], filling, *best[number + 1 :]]
                shown = " ".join(filling.tokens)
                print(f"  {rank}\t{filling.probability:.4g}\t{shown}\t{filler.filled(text, chosen)}", flush=True)
