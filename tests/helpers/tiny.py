"""A tiny model and tiny data, made anew in a folder: 2 layers, hidden 32, a vocabulary of its own words."""

import json

import numpy as np

from ernie.checkpoint import write_params
from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes

GOOD = ("good", "great", "fine", "lovely", "bright")
BAD = ("bad", "poor", "dull", "awful", "grim")
OTHER = ("the", "film", "story", "was", "is", "a", "and", "very", "cast", "##s", "##ly", ".")
VOCABULARY = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *GOOD, *BAD, *OTHER)
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "max_position_embeddings": 40,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "sent_type_vocab_size": 2,
    "task_type_vocab_size": 3,
    "use_task_id": True,
    "vocab_size": len(VOCABULARY),
}


def characters(folder):
    """Pieces that every text in a folder of TSV files can be cut into."""
    found = {char for path in folder.rglob("*.tsv") for char in path.read_text(encoding="utf8").lower()}
    found = sorted(char for char in found if not char.isspace() and char.isprintable())
    return [*found, *(f"##{char}" for char in found)]


def make_model(folder, pieces=(), **changes):
    """Write params/, ernie_config.json and vocab.txt; returns the folder. pieces: more for the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = list(dict.fromkeys([*VOCABULARY, *pieces]))
    changes = {"vocab_size": len(vocabulary), **changes} if pieces else changes
    (folder / "ernie_config.json").write_text(json.dumps({**CONFIG, **changes}))
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf8")
    random = np.random.RandomState(5)
    arrays = {}
    for name, shape in encoder_shapes(ErnieConfig({**CONFIG, **changes})).items():
        if name.endswith("layer_norm_scale"):
            arrays[name] = np.ones(shape, "float32")
        elif name.endswith(("_bias", ".b_0")):
            arrays[name] = np.zeros(shape, "float32")
        else:
            arrays[name] = (random.randn(*shape) * 0.1).astype("float32")
    write_params(folder / "params", arrays)
    return folder


def sentences(count, seed):
    """(label, text) pairs: a sentence is good or bad by its one telling word; lengths differ."""
    random = np.random.RandomState(seed)
    rows = []
    for _ in range(count):
        label = int(random.randint(2))
        words = list(random.choice(OTHER[:9], random.randint(2, 9)))
        words.insert(random.randint(len(words)), random.choice(GOOD if label else BAD))
        rows.append((label, " ".join(words)))
    return rows


def write_tsv(path, rows, header=("label", "text_a")):
    """Write rows of values under a header; returns the path as a string."""
    lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return str(path)


def make_data(folder):
    """Write train.tsv (40 rows), dev.tsv (13), test.tsv (7, labelled); returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", 40, 1), ("dev", 13, 2), ("test", 7, 3)):
        write_tsv(folder / f"{name}.tsv", sentences(count, seed))
    return folder


def flags(model, data, checkpoints, **changes):
    """The command line of a short run of run_classifier.py; a change of None leaves the flag out."""
    values = {
        "use_cuda": "false",
        "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt",
        "init_pretraining_params": model / "params",
        "train_set": data / "train.tsv",
        "dev_set": data / "dev.tsv",
        "test_set": data / "test.tsv",
        "test_save": checkpoints / "test_out.tsv",
        "checkpoints": checkpoints,
        "for_cn": "false",
        "max_seq_len": 24,
        "batch_size": 8,
        "epoch": 2,
        "learning_rate": 5e-3,
        "random_seed": 1,
        "skip_steps": 2,
        "save_steps": 4,
        "validation_steps": 5,
        **changes,
    }
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
