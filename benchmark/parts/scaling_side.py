"""One side of benchmark/scaling.py: some training steps over full rows of random ids; prints JSON.

python benchmark/parts/scaling_side.py ours '{"layers": 4, "hidden": 256, "batch": 32, ...}'
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

VOCABULARY = 18000
MOST_POSITIONS = 512


@dataclass(frozen=True)
class Job:
    """layers, hidden: of the encoder; batch: rows of a step, of all processes together; length: tokens of a row;
    fused: whether ours are the operators of ernie/operators."""

    layers: int
    hidden: int
    batch: int
    length: int
    steps: int
    warmup: int
    threads: int
    bucket_mb: float | None = None
    fused: bool = True

    @property
    def heads(self):
        return max(self.hidden // 64, 1)

    def rate(self, seconds):
        """Tokens a second of the median step."""
        return self.batch * self.length / float(np.median(seconds))


def ours(job):
    """The loop, network and optimiser of run_classifier.py; this process may be one of several."""
    from propeller import runtime

    runtime.prepare()
    from propeller.train import distribution

    ranks = distribution.start()
    from benchmark.parts.no_saver import NoSaver
    from ernie import operators
    from ernie.config import ErnieConfig
    from ernie.optimization import AdamW, OptimizationConfig
    from finetune.classification.classifier import Classifier
    from finetune.spec import ModelSpec
    from propeller.train.hooks import RunHook
    from propeller.train.model import RunMode
    from propeller.train.trainer import Learner, RunConfig

    config = ErnieConfig(
        {
            "attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "hidden_act": "gelu",
            "hidden_size": job.hidden, "num_hidden_layers": job.layers, "num_attention_heads": job.heads,
            "max_position_embeddings": MOST_POSITIONS, "vocab_size": VOCABULARY, "type_vocab_size": 2,
            "initializer_range": 0.02,
        }
    )  # fmt: skip
    clock = []
    if job.fused:
        operators.load()

    class Clock(RunHook):
        def after_step(self, learner, state):
            clock.append(time.monotonic())

    def make_model(mode):
        optimizer = AdamW(OptimizationConfig(2e-5, 1000, 100, 0.01), job.fused) if mode is RunMode.TRAIN else None
        model = Classifier(config, ModelSpec(num_labels=2), mode, optimizer)
        model.encoder.packed = job.fused
        return model

    steps = job.warmup + job.steps
    run = RunConfig(seed=1, log_steps=10**9, max_steps=steps, place=runtime.place("false"), ranks=ranks,
                    bucket_mb=job.bucket_mb)  # fmt: skip
    learner = Learner(make_model, run)
    rows = job.batch // ranks.size
    learner.train(lambda position: contextlib.nullcontext(_Batches(job, rows, ranks.rank)), 10**9, NoSaver(), [],
                  [Clock()])  # fmt: skip
    found = {"rate": job.rate(np.diff(clock)[job.warmup - 1 :])}
    if ranks.size > 1:
        found["exchange_seconds"] = _exchange(learner)
    return found if ranks.first else None


def _exchange(learner):
    """Seconds that summing the gradients takes when nothing else is done: the median of some."""
    import paddle

    from propeller.train.model import RunMode

    shapes = list(learner.parameter_shapes(RunMode.TRAIN).items())
    reducer, main = learner.graphs.reducer(), paddle.static.Program()
    with paddle.static.program_guard(main, paddle.static.Program()):
        pairs = [(name, paddle.full(shape, 1.0, "float32")) for name, shape in shapes]
        found = reducer(pairs)
    seconds = []
    for _ in range(6):
        learner.ranks.all_gather(None)
        begin = time.monotonic()
        learner.executor.run(main, fetch_list=[found[-1][1]])
        seconds.append(time.monotonic() - begin)
    return float(np.median(seconds[1:]))


class _Position:
    epoch = rows = 0

    def to_dict(self):
        return {}


class _Batches:
    """The same random rows for ever."""

    def __init__(self, job, rows, seed):
        random = np.random.RandomState(seed)
        shape = (rows, job.length)
        self.batch = {
            "src_ids": random.randint(5, VOCABULARY, shape).astype("int64"),
            "sent_ids": np.zeros(shape, "int64"),
            "pos_ids": np.tile(np.arange(job.length), (rows, 1)).astype("int64"),
            "task_ids": np.zeros(shape, "int64"),
            "input_mask": np.ones(shape, "float32"),
            "labels": random.randint(0, 2, (rows, 1)).astype("int64"),
        }

    def __iter__(self):
        while True:
            yield self.batch, _Position()

    def queue_size(self):
        return 0


def peer(job):
    """transformers' BERT, torch's AdamW."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.set_num_threads(job.threads)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=job.hidden, num_hidden_layers=job.layers, num_attention_heads=job.heads,
        intermediate_size=4 * job.hidden, max_position_embeddings=MOST_POSITIONS, num_labels=2,
    )  # fmt: skip
    model = BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.01)
    batch = _Batches(job, job.batch, 0).batch
    given = {"input_ids": "src_ids", "token_type_ids": "sent_ids", "attention_mask": "input_mask", "labels": "labels"}
    given = {theirs: torch.from_numpy(batch[name]).long() for theirs, name in given.items()}
    clock = []
    for _ in range(job.warmup + job.steps):
        loss = model(**given).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        clock.append(time.monotonic())
    return {"rate": job.rate(np.diff(clock)[job.warmup - 1 :])}


if __name__ == "__main__":
    measured = {"ours": ours, "peer": peer}[sys.argv[1]](Job(**json.loads(sys.argv[2])))
    if measured:
        Path(sys.argv[3]).write_text(json.dumps(measured))
