"""The encoder that benchmark/reading.py starts from: taught for minutes to find in a text what a question speaks of.

    start = ReadingStart(work, data, vocab, steps=600)
    folder = start.make(end)        # model/ as the entry scripts read it; None where the minutes were used up

Random weights learn too little from a thousand questions, and the package registry offers no Chinese encoder. So
run_mrc.py first trains a random one on questions that are no part of CMRC2018: in turn one of DRCD's dev set, and one
made of a passage of DRCD or of CMRC2018's trial set, a few characters of which are replaced by 什么 and to be found.
Each comes with a short part of its context around the answer, so that it is one window. Contexts that hold one of
CMRC2018's dev set, or share 20 characters in a row with one, are left out.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np

from benchmark.parts.pretraining_corpus import DevTexts, clean, digest, run_script
from ernie.checkpoint import is_encoder_name, read_params, write_params
from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes
from propeller.errors import UserError
from propeller.files import write_file
from propeller.runtime import cores

MAX_SEQ_LEN = 128
MAX_QUERY_LENGTH = 30
PART = 90  # characters of a context: with the longest question and three special tokens they fit into MAX_SEQ_LEN
BATCH = 16
SEED = 0
BLANK = "什么"
NETWORK = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 64,
    "initializer_range": 0.1,
    "max_position_embeddings": MAX_SEQ_LEN,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "sent_type_vocab_size": 2,
}
FLAGS = {
    "max_seq_len": MAX_SEQ_LEN,
    "max_query_length": MAX_QUERY_LENGTH,
    "batch_size": BATCH,
    "learning_rate": 2e-3,
    "head_dropout": 0,
    "random_seed": SEED,
}
SENTENCE = re.compile(r"[^。！？\n]{8,}")
PHRASE = re.compile(r"[^，。、；：（）《》“”「」\s]+")


def paragraphs(path) -> list:
    """The paragraphs of a SQuAD file. Raises UserError: it is not there."""
    if not Path(path).is_file():
        raise UserError(f"{path}: not there: give --data the folder that holds zh/")
    articles = json.loads(Path(path).read_text(encoding="utf-8"))["data"]
    return [paragraph for article in articles for paragraph in article["paragraphs"]]


def part_around(context, start, length, drawn):
    """(PART characters of a context at most, where the answer starts in them), the part lying at random around it."""
    room = max(PART - length, 0)
    low = min(max(start - drawn.randint(0, room), 0), max(len(context) - PART, 0))
    return context[low : low + PART], start - low


def cloze(context, drawn):
    """(question, answer, its place) made of a sentence of the context; None where it has no sentence."""
    sentences = list(SENTENCE.finditer(context))
    if not sentences:
        return None
    sentence = drawn.choice(sentences)
    phrases = list(PHRASE.finditer(sentence.group()))
    if not phrases:
        return None
    phrase = drawn.choice(phrases)
    length = min(len(phrase.group()), drawn.randint(2, 8))
    begin = phrase.start() + drawn.randint(0, len(phrase.group()) - length)
    text, end = sentence.group(), begin + length
    left, right = (drawn.randint(4, 12) for _ in range(2))
    question = text[max(begin - left, 0) : begin] + BLANK + text[end : end + right]
    return question, text[begin:end], sentence.start() + begin


def questions(asked, texts, count) -> dict:
    """`count` questions as SQuAD JSON: in turn one of `asked` and one made of `texts`, each with a part of its context.

    Args: asked: paragraphs with questions, texts: paragraphs whose contexts alone are taken.
    """
    drawn, articles = random.Random(SEED), []
    known = [(paragraph["context"], entry) for paragraph in asked for entry in paragraph["qas"]]
    while len(articles) < count:
        if len(articles) % 2 and known:
            context, entry = drawn.choice(known)
            answer = entry["answers"][0]
            made = entry["question"], answer["text"], answer["answer_start"]
        else:
            context = drawn.choice(texts)["context"]
            made = cloze(context, drawn)
        if made is None or not made[1].strip() or len(made[1]) > PART or not context.startswith(made[1], made[2]):
            continue
        part, start = part_around(context, made[2], len(made[1]), drawn)
        entry = {"id": str(len(articles)), "question": made[0], "answers": [{"text": made[1], "answer_start": start}]}
        articles.append({"paragraphs": [{"context": part, "qas": [entry]}]})
    return {"version": "cloze", "data": articles}


class ReadingStart:
    """The start of all runs. Args: work: where it is kept; data: folder with zh/; vocab: a Chinese vocabulary; steps:
    of its training.

    Attributes: folder: of the start; its name is made of all that it depends on. counts: of the contexts, see `clean`.

    Raises:
        UserError: a file is not there.
    """

    def __init__(self, work, data, vocab, steps):
        cmrc, self.vocab, self.steps = Path(data) / "zh/cmrc2018", Path(vocab), steps
        if not self.vocab.is_file():
            raise UserError(f"{vocab}: not there: give --zh_vocab a Chinese vocabulary")
        dev = DevTexts(paragraph["context"] for paragraph in paragraphs(cmrc / "dev.json"))
        asked, self.counts = clean(paragraphs(Path(data) / "zh/drcd/dev.json"), lambda each: each["context"], dev)
        texts, _ = clean(paragraphs(cmrc / "trial.json"), lambda each: each["context"], dev)
        self.questions = questions(asked, asked + texts, steps * BATCH)
        self.config = ErnieConfig({**NETWORK, "vocab_size": self.vocab.read_bytes().count(b"\n")})
        text = digest([self.questions, self.vocab.read_text(encoding="utf-8")])
        self.known = {"network": self.config.to_dict(), "flags": FLAGS, "steps": steps, "text": text}
        self.folder = Path(work) / f"start-{digest(self.known)}"

    def make(self, end):
        """model/ of the start, trained where it is missing; None where the minutes were used up.

        Args: end: of time.monotonic, where training is stopped, to go on with the next start.
        """
        run, model = self.folder / "run", self.folder / "model"
        if not (self.folder / "done").is_file():
            model.mkdir(parents=True, exist_ok=True)
            without = {**self.config.to_dict(), "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            write_file(self.folder / "config.json", json.dumps(without).encode())
            write_file(self.folder / "train.json", json.dumps(self.questions, ensure_ascii=False).encode())
            flags = {
                **FLAGS,
                "ernie_config_path": self.folder / "config.json",
                "vocab_path": self.vocab,
                "train_set": self.folder / "train.json",
                "epoch": 1,
                "do_val": "false",
                "do_test": "false",
                "validation_steps": 0,
                "save_steps": 200,
                "keep_checkpoints": 1,
                "skip_steps": 25,
                "use_cuda": "false",
                "checkpoints": run,
            }
            if not run_script("run_mrc.py", flags, self.folder / "log", cores(), end):
                return None
            self.config.save(model / "ernie_config.json")
            write_file(model / "vocab.txt", self.vocab.read_bytes())
            write_params(model / "params", self._encoder(run / "last"))
            write_file(self.folder / "done", b"")
        return model

    def _encoder(self, checkpoint):
        """The encoder's arrays of a checkpoint, and a pooler of zeros, which reading comprehension does not use but
        transformers' form of the model has."""
        arrays = {name: array for name, array in read_params(checkpoint).items() if is_encoder_name(name)}
        pooler = {name: shape for name, shape in encoder_shapes(self.config).items() if name.startswith("pooled_fc")}
        return {**arrays, **{name: np.zeros(shape, np.float32) for name, shape in pooler.items()}}
