"""What a student's words mean to the teacher: a word embedding to begin with.

    python -m distill.vectors output/teacher/best student/vocab.txt student/start
    python -m finetune student --vocab_path student/vocab.txt --tokenizer WholeWordTokenizer \
        --init_pretraining_params student/start/params ...

The teacher, a checkpoint or a model directory, reads each entry of the vocabulary as a text of its own. The vector of a
word is the mean of the states of its pieces in the top layer: the teacher was fine-tuned, so a good word and a bad one
are far apart there. With ``--size`` the vectors are turned onto their principal axes and the first so many are kept;
columns that the teacher has not are 0 at first.
The configuration of the student gets ``"embedding_size"``, the size of the vectors.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.shrink import encoder_of
from ernie.checkpoint import load_params, write_params
from ernie.config import ErnieConfig
from ernie.facts import read_facts
from ernie.foreign import encoder_shapes
from finetune.spec import VOCAB
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_directory
from propeller.flags import FlagParser, add_flags, flag, read_flags
from tokenization import build_tokenizer, load_vocab

log = logging.getLogger("ernie.distill")

BATCH = 256  # words that the teacher reads together
LONGEST = 32  # pieces of a word that count
SPREAD = 0.1  # standard deviation of the vectors that are written: a new student's are of that order
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")


@dataclass(frozen=True)
class VectorArgs:
    """vectors: of which size"""

    size: int | None = flag(None, "columns of the vectors [as many as the teacher's]")
    overwrite: bool = flag(False, "replace a folder that is there", bare=True)


class Reader:
    """The teacher's encoder over words.

    Args:
        source: a checkpoint or a model directory.

    Raises:
        UserError: it has no encoder or no vocabulary.
    """

    def __init__(self, source: Path) -> None:
        import paddle

        from ernie.modeling import ErnieEncoder

        params, values, stored = encoder_of(source)
        self.config = ErnieConfig(values, source=str(source))
        arrays, _ = load_params(params, encoder_shapes(self.config), heads_optional=True)
        self.encoder = ErnieEncoder(self.config)
        self.encoder.eval()
        for parameter in self.encoder.parameters():
            parameter.set_value(paddle.to_tensor(arrays[parameter.name]))
        self.tokenizer = self._tokenizer(source, stored)

    @staticmethod
    def _tokenizer(source: Path, stored: dict[str, Any]) -> Any:
        if not (source / VOCAB).is_file():
            raise UserError(f"{source}: has no {VOCAB}: give a checkpoint or a model directory")
        text = {**read_facts(source), **stored}
        name = text.get("tokenizer") or "FullTokenizer"
        return build_tokenizer(name, source / VOCAB, text.get("do_lower_case") is not False, for_cn=False)

    def vectors(self, words: Sequence[str]) -> np.ndarray:
        """float32 [words, hidden]; 0 for a word of which the teacher's vocabulary has no piece."""
        import paddle

        ids = [each[:LONGEST] for each in self.tokenizer.encode_batch(words)]
        found = np.zeros((len(words), self.config.hidden_size), np.float32)
        order = sorted((number for number, each in enumerate(ids) if each), key=lambda number: len(ids[number]))
        for begin in range(0, len(order), BATCH):
            some = order[begin : begin + BATCH]
            batch = self._batch([ids[number] for number in some])
            with paddle.no_grad():
                states = self.encoder({name: paddle.to_tensor(array) for name, array in batch.items()}).numpy()
            inside = batch["input_mask"].copy()  # without [CLS] and [SEP]
            inside[:, 0] = 0.0
            inside[np.arange(len(some)), batch["input_mask"].sum(axis=1).astype(int) - 1] = 0.0
            found[some] = (states * inside[:, :, None]).sum(axis=1) / inside.sum(axis=1, keepdims=True)
        return found

    def _batch(self, rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        longest = max(map(len, rows)) + 2
        ids = np.full((len(rows), longest), self.tokenizer.pad_id, np.int64)
        mask = np.zeros((len(rows), longest), np.float32)
        for number, row in enumerate(rows):
            ids[number, : len(row) + 2] = [self.tokenizer.cls_id, *row, self.tokenizer.sep_id]
            mask[number, : len(row) + 2] = 1.0
        places = np.tile(np.arange(longest), (len(rows), 1))
        zeros = np.zeros_like(ids)
        return {"src_ids": ids, "sent_ids": zeros, "pos_ids": places, "task_ids": zeros, "input_mask": mask}


def scaled(vectors: np.ndarray, special: Sequence[int], size: int | None) -> np.ndarray:
    """Vectors around 0, of the spread of a new student's; those of special entries are 0.

    Args:
        vectors: float32 [words, hidden].
        special: numbers of entries that are no words.
        size: how many principal axes are kept, columns of 0 beyond them; None: the vectors stay as they lie.
    """
    words = np.ones(len(vectors), bool)
    words[list(special)] = False
    words &= np.abs(vectors).sum(axis=1) > 0
    centred = vectors - vectors[words].mean(axis=0)
    if size is not None and size < vectors.shape[1]:
        _, axes = np.linalg.eigh(np.cov(centred[words].T))
        centred = centred @ axes[:, ::-1][:, :size]
    made = centred * (SPREAD / max(float(centred[words].std()), 1e-12))
    made[~words] = 0.0
    more = max((size or 0) - made.shape[1], 0)
    return np.pad(made, ((0, 0), (0, more))).astype(np.float32)


def write_vectors(source: Path, vocab_path: str, folder: Path, args: VectorArgs) -> tuple[int, int]:
    """Write ``params/word_embedding``; returns its shape.

    Raises:
        UserError: the teacher or the vocabulary cannot be used; the folder exists.
    """
    vocab = load_vocab(vocab_path, strict=True)
    if args.size is not None and args.size < 1:
        raise UserError(f"--size must be at least 1, not {args.size}")
    reader = Reader(source)
    words = [""] * (max(vocab.values()) + 1)
    for word, number in vocab.items():
        words[number] = "" if word in SPECIAL else word
    log.info("%s reads %d words", source, len(vocab))
    vectors = scaled(reader.vectors(words), [number for number, word in enumerate(words) if not word], args.size)
    with atomic_directory(folder, args.overwrite) as made:
        write_params(made / "params", {"word_embedding": vectors})
    return vectors.shape[0], vectors.shape[1]


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m distill.vectors", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    parser.add_argument("teacher", metavar="TEACHER", help="a checkpoint or a model directory")
    parser.add_argument("vocab", metavar="VOCAB", help="the student's vocabulary")
    parser.add_argument("folder", metavar="FOLDER", help="the folder to write")
    add_flags(parser, VectorArgs)
    values = read_flags(parser, argv)
    source, vocab, folder = Path(values.pop("teacher")), values.pop("vocab"), Path(values.pop("folder"))
    log_setup.setup(None)
    runtime.prepare()
    rows, size = write_vectors(source, vocab, folder, VectorArgs(**values))
    log.info('%s: %d vectors of %d: give the student "embedding_size": %d', folder, rows, size, size)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
