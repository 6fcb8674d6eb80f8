"""Shared with tests/propeller/test_bundle.py: bundles of random weights."""

import numpy as np

from ernie.config import ErnieConfig
from ernie.export import export_bundle
from finetune import task_class
from finetune.spec import ModelSpec
from propeller.train.trainer import Learner, RunConfig
from tests.helpers.tiny import CONFIG, VOCABULARY
from tokenization import build_tokenizer

HEADS = {
    "classify": 3,
    "multi_label_classification": 3,
    "regression": 1,
    "student_regression": 1,
    "sequence_label": 3,
    "student_sequence_label": 3,
    "sequence_label_crf": 3,
    "mrc": 2,
}


def learner_of(task, **changes):
    """A learner with random weights, its prediction Program built."""
    config = ErnieConfig({**CONFIG, "initializer_range": 0.3, **changes})
    head = ModelSpec(num_labels=HEADS.get(task, 2))
    learner = Learner(lambda mode: task_class(task)(config, head, mode), RunConfig(seed=3))
    graph = learner.graphs.predict(ready=False)
    learner.executor.run(graph.startup, scope=learner.scope)
    return learner, config


def export(folder, model, task="classify", onnx=False, overwrite=False, **changes):
    """Export random weights; returns (learner, folder)."""
    learner, config = learner_of(task, **changes)
    vocab = str(model / "vocab.txt")
    facts = {
        "task": task,
        "label_map": {"no": 0, "yes": 1, "maybe": 2} if task == "classify" else None,
        "num_labels": HEADS.get(task, 2),
        "max_seq_len": 24,
        "tokenizer": "FullTokenizer",
        "tokenizer_fingerprint": build_tokenizer("FullTokenizer", vocab, True, False).fingerprint,
        "do_lower_case": True,
        "for_cn": False,
        "task_id": 0,
        "metric": "simple_accuracy",
        "flags": {},
    }
    return learner, export_bundle(learner, folder, facts, config, vocab, onnx=onnx, overwrite=overwrite)


def batch_of(rows, length, seed=0):
    """A batch with padding: rows differ in length."""
    random = np.random.RandomState(seed)
    lengths = random.randint(2, length + 1, rows)
    lengths[0] = length
    mask = (np.arange(length) < lengths[:, None]).astype("float32")
    ids = random.randint(5, len(VOCABULARY), (rows, length)) * mask.astype("int64")
    position = np.tile(np.arange(length), (rows, 1))
    return {
        "src_ids": ids,
        "sent_ids": random.randint(0, 2, (rows, length)),
        "pos_ids": position,
        "task_ids": np.ones_like(ids),
        "input_mask": mask,
    }
