"""Memory of training and of inference, measured beside what ``python -m ernie.memory`` says.

    python benchmark/memory.py                                    # 4 layers, hidden 256, batch 16 x 128
    python benchmark/memory.py --layers 6 --hidden 384 --batch_size 8 --max_seq_len 256

A process of its own makes steps on batches of one short row, notes its memory, then makes steps on whole batches: what
it grew by at its fullest, and the variables' own bytes, are compared with the table's total. The target: within 20%.
On a CPU only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmark.parts.process_memory import resident  # noqa: E402

STEPS = 4
TARGET = 0.2


def flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("layers", 4), ("hidden", 256), ("heads", 4), ("vocab_size", 8000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--max_seq_len", type=int, default=128)
    parser.add_argument("--accumulate", type=int, default=1, help="batches a step")
    parser.add_argument("--use_bf16", action="store_true")
    parser.add_argument("--use_recompute", action="store_true")
    parser.add_argument("--fused_encoder", action="store_true")
    parser.add_argument("--part", choices=("training", "inference"), help="measure this in this process (internal)")
    return parser.parse_args(argv)


def network(args):
    from ernie.config import ErnieConfig

    return ErnieConfig(
        {
            "attention_probs_dropout_prob": 0.1,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "hidden_size": args.hidden,
            "max_position_embeddings": max(args.max_seq_len, 512),
            "num_attention_heads": args.heads,
            "num_hidden_layers": args.layers,
            "type_vocab_size": 2,
            "vocab_size": args.vocab_size,
        }
    )


def _batches(args, batch_size, seq_len):
    import numpy as np

    random = np.random.RandomState(0)
    shape = (batch_size, seq_len)
    for _ in range(STEPS * args.accumulate):
        zeros = np.zeros(shape, "int64")
        yield {
            "src_ids": random.randint(0, args.vocab_size, shape),
            "sent_ids": zeros,
            "pos_ids": np.tile(np.arange(seq_len), (batch_size, 1)),
            "task_ids": zeros,
            "input_mask": np.ones(shape, "float32"),
            "labels": random.randint(0, 2, (batch_size, 1)),
        }


def measure(args):
    """What this process holds at its fullest while it makes steps, in bytes.

    That is the bytes of the variables and what the process grows by over its size after a first step on a batch of one
    short row, which makes Paddle compile the Program and its kernels get their own buffers.
    """
    from ernie import operators
    from ernie.optimization import AdamW, OptimizationConfig
    from finetune.classification.classifier import Classifier
    from finetune.spec import ModelSpec
    from propeller.train import program
    from propeller.train.amp import FP32, Precision
    from propeller.train.model import RunMode
    from propeller.train.trainer import Learner, RunConfig

    config = network(args)

    def make_model(mode):
        fused = args.fused_encoder
        optimizer = AdamW(OptimizationConfig(1e-4, 100), fused) if mode is RunMode.TRAIN else None
        model = Classifier(config, ModelSpec(), mode, optimizer)
        model.encoder.packed = fused
        return model

    if args.fused_encoder:
        operators.load()
    precision = Precision("bfloat16") if args.use_bf16 else FP32
    learner = Learner(
        make_model, RunConfig(accumulate=args.accumulate, precision=precision, recompute=args.use_recompute)
    )
    mode = RunMode.TRAIN if args.part == "training" else RunMode.PREDICT
    _fill(learner, learner.parameter_shapes(mode))
    graph = learner.graphs.train() if mode is RunMode.TRAIN else learner.graphs.predict()
    work = _train if mode is RunMode.TRAIN else _predict
    work(learner, args, 1, 8)
    parts = [part for part in (graph.gradient, graph.update) if part] if mode is RunMode.TRAIN else [graph]
    names = {name for part in parts for name in program.persistables(part.main)}
    variables = sum(array.nbytes for name in names for array in learner.read([name]).values())
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    work(learner, args, args.batch_size, args.max_seq_len)
    return variables + resident(field="VmHWM") - before


def _fill(learner, shapes):
    import numpy as np

    random = np.random.RandomState(0)
    for name, shape in sorted(shapes.items()):
        learner.write({name: (random.standard_normal(shape) * 0.02).astype("float32")})


def _predict(learner, args, batch_size, seq_len):
    for _ in learner.predict((batch, None) for batch in _batches(args, batch_size, seq_len)):
        pass


def _train(learner, args, batch_size, seq_len):
    from types import SimpleNamespace

    ends = [SimpleNamespace(epoch=0, rows=i, to_dict=dict) for i in range(1, STEPS * args.accumulate + 1)]

    class Batches:
        queue_size = staticmethod(lambda: 0)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def __iter__(self):
            return zip(_batches(args, batch_size, seq_len), ends)

    saver = SimpleNamespace(restore=lambda: None, save=lambda *given: None, prune=lambda best: None)
    state = learner.train(lambda position: Batches(), STEPS * args.accumulate, saver)
    assert state.step == STEPS, state.step


def compare(argv):
    """name -> (measured, estimated) bytes of training and of inference."""
    from ernie.memory import Setting, estimate

    args = flags(argv)
    setting = Setting(
        args.batch_size,
        args.max_seq_len,
        half=args.use_bf16,
        accumulate=args.accumulate > 1,
        recompute=args.use_recompute,
        fused=args.fused_encoder,
    )
    total = dict(zip(("training", "inference"), estimate(network(args), setting)["total"]))
    return {part: (measured(part, argv), estimated) for part, estimated in total.items()}


def measured(part, argv):
    """Bytes that a process of its own holds at its fullest: ``part`` is training or inference."""
    # Freed blocks go back to the system at once: what is measured is then what is in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, __file__, *argv, "--part", part]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def main(argv):
    """Print the comparison; 0 when both are within the target."""
    args = flags(argv)
    if args.part:
        print(json.dumps(measure(args)))
        return 0
    good = True
    for part, (found, estimated) in compare(argv).items():
        off = estimated / found - 1
        good = good and abs(off) <= TARGET
        print(f"{part:<10} measured {found / 2**20:8.1f} MiB, estimated {estimated / 2**20:8.1f} MiB ({off:+.1%})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
