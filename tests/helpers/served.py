"""Bundles with random weights, a task each, and requests run through a handler without a server."""

import functools

import numpy as np

from ernie.config import ErnieConfig
from ernie.export import export_bundle
from finetune import task_class
from finetune.prediction.model import InferenceModel
from finetune.serving.handler import open_handler
from finetune.spec import ModelSpec
from finetune.tagging.flags import SequenceLabelArgs
from propeller.service.limits import Limits
from propeller.train.model import RunMode
from propeller.train.trainer import Learner, RunConfig
from tests.helpers.tagged import IOB
from tests.helpers.tiny import CONFIG
from tokenization import build_tokenizer

LIMITS = Limits(max_texts=8, max_chars=400)
LONG = "the good story was very dull and a bright film is poor . " * 4  # more than a window
LABELS = {"no": 0, "yes": 1, "maybe": 2}
FACTS = {
    "classify": {"label_map": LABELS, "num_labels": 3},
    "multi_label_classification": {"label_map": LABELS, "num_labels": 3, "metric": None},
    "regression": {"num_labels": 1},
    "student_regression": {"num_labels": 1},
    "student": {"label_map": LABELS, "num_labels": 3},
    "sequence_label": {"label_map": IOB, "num_labels": 5},
    "student_sequence_label": {"label_map": IOB, "num_labels": 5},
    "sequence_label_crf": {"label_map": IOB, "num_labels": 5},
    "multiple_choice": {"num_labels": 1},
    "prompt": {
        "label_map": LABELS,
        "num_labels": 3,
        "flags": {"template": "{text_a} {mask}", "label_words": "no=bad,yes=good,maybe=fine story"},
        "label_pieces": [[10], [5], [7, 17]],
        "mask_id": 3,
    },
    "mrc": {"flags": {"doc_stride": 6, "max_query_length": 8, "max_answer_length": 10, "n_best_size": 20}},
    "sentence_vectors": {"num_labels": 1, "metric": None},
    "embed": {"num_labels": 0, "metric": None, "pooling": "mean", "normalize": False},
}


def make_bundle(folder, model, task, onnx=False, edit=None, **changes):
    """Write a bundle of random weights over the tiny model's vocabulary, changed by ``edit``; returns its folder."""
    config = ErnieConfig(CONFIG)
    vocab = str(model / "vocab.txt")
    facts = {
        "task": task,
        "label_map": None,
        "num_labels": 2,
        "max_seq_len": 24,
        "tokenizer": "FullTokenizer",
        "tokenizer_fingerprint": build_tokenizer("FullTokenizer", vocab, True, False).fingerprint,
        "do_lower_case": True,
        "for_cn": False,
        "task_id": 1,
        "metric": "simple_accuracy",
        "flags": {},
        **FACTS.get(task, {}),
        **changes,
    }
    if task in ("sequence_label", "sequence_label_crf", "student_sequence_label"):
        facts["flags"] = {name: entry.default for name, entry in SequenceLabelArgs.__dataclass_fields__.items()}
    head = ModelSpec(num_labels=facts["num_labels"], facts=facts)
    learner = Learner(lambda mode: task_class(task)(config, head, mode), RunConfig(seed=3))
    random = np.random.RandomState(4)
    shapes = sorted(learner.parameter_shapes(RunMode.PREDICT).items())
    arrays = {name: random.randn(*shape).astype("float32") * 0.3 for name, shape in shapes}
    if edit:
        edit(arrays)
    learner.write(arrays)
    return export_bundle(learner, folder, facts, config, vocab, onnx=onnx)


def opener(model, folder):
    """A function task -> (handler, InferenceModel) of a bundle that is made in ``folder`` when first asked for."""

    @functools.cache
    def get(task):
        bundle = make_bundle(folder / task, model, task)
        return open_handler(bundle), InferenceModel.open(bundle, use_cuda="false")

    return get


def batched(handler, instances):
    """Instances as one padded batch, as the server pads them."""
    longest = max(len(instance["src_ids"]) for instance in instances)
    return {
        name: np.stack(
            [np.pad(i[name], (0, longest - len(i[name])), constant_values=handler.pad.get(name, 0)) for i in instances]
        )
        for name in instances[0]
    }


def rows_of(outputs, instances):
    """The outputs of a batch as those of each instance, without padding, as the server gives them back."""
    longest = max(len(instance["src_ids"]) for instance in instances)
    return [
        {name: array[i][: len(own["src_ids"])] if array[i].shape[:1] == (longest,) else array[i]
         for name, array in outputs.items()}
        for i, own in enumerate(instances)
    ]  # fmt: skip


def respond(handler, predictor, payload, limits):
    """What the server answers."""
    job = handler.parse(payload, limits)
    return handler.answer(job, rows_of(predictor.run(batched(handler, job.instances)), job.instances))


def made_up(job, names, width=None, seed=0):
    """Random outputs for the instances of a job: ``names`` of shape [seq] or [seq, width], probabilities the latter."""
    random, outputs = np.random.RandomState(seed), []
    for instance in job.instances:
        seq = len(instance["src_ids"])
        shape = (seq,) if width is None else (seq, width)
        output = {name: random.randn(*shape).astype("float32") for name in names}
        if width is not None:
            output = {name: np.exp(x) / np.exp(x).sum(-1, keepdims=True) for name, x in output.items()}
        outputs.append(output)
    return outputs
