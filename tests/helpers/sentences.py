"""What the tests of sentence vectors share: files of texts, pairs, triplets, scored pairs, and a teacher's vectors."""

from __future__ import annotations

import numpy as np

from tests.helpers.tiny import sentences, write_tsv

SIZES = {"simcse": 1, "pairs": 2, "triplets": 3}
FILES = {"simcse": "texts", "pairs": "pairs", "triplets": "triplets", "cosine": "dev", "teacher": "texts"}


def make_sentences(folder):
    """Write texts.tsv, pairs.tsv, triplets.tsv, dev.tsv (scored), test.tsv, teacher.npy; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = list(dict.fromkeys(text for _, text in sentences(80, 1)))[:48]
    write_tsv(folder / "texts.tsv", [(text,) for text in texts], ("text_a",))
    write_tsv(folder / "pairs.tsv", list(zip(texts[::2], texts[1::2])), ("text_a", "text_b"))
    write_tsv(
        folder / "triplets.tsv", list(zip(texts[::3], texts[1::3], texts[2::3])), ("text_a", "text_b", "negative")
    )
    rows = [(one, other, number % 6) for number, (one, other) in enumerate(zip(texts[:16], texts[16:32]))]
    write_tsv(folder / "dev.tsv", rows, ("text_a", "text_b", "label"))
    write_tsv(folder / "test.tsv", [row[:2] for row in rows], ("text_a", "text_b"))
    np.save(folder / "teacher.npy", np.random.RandomState(0).randn(len(texts), 32).astype("float32"))
    return folder


def training(folder, objective, **changes):
    """Flags of a run, for ``tests.helpers.tiny.flags``."""
    more = {"teacher_vectors": folder / "teacher.npy"} if objective == "teacher" else {}
    return {
        "train_set": folder / f"{FILES[objective]}.tsv",
        "dev_set": folder / "dev.tsv",
        "test_set": None,
        "test_save": None,
        "objective": objective,
        "fused_encoder": "false",
        **more,
        **changes,
    }


def unit(vectors):
    """Of length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def numpy_contrastive(anchors, others, same, temperature):
    """(loss, hits) by the formula, place by place."""
    candidates = unit(np.concatenate(others))
    losses, hits = [], []
    for number, anchor in enumerate(unit(anchors)):
        scores = candidates @ anchor / temperature
        kept = same[number] == 0
        losses.append(np.log(np.exp(scores[kept]).sum()) - scores[number])
        hits.append(scores[number] == scores[kept].max())
    return np.mean(losses), hits
