"""One measurement of benchmark/gpu.sh, or the table of all. Unproven on a GPU: it was written without one.

    python benchmark/gpu.py training --config config/ernie_config_en_base.json --precision bf16
    python benchmark/gpu.py attention --config config/ernie_config_en_base.json --precision fp16
    python benchmark/gpu.py packed --config config/ernie_config_en_base.json --precision fp16
    python benchmark/gpu.py report

``training`` fine-tunes a classifier without dropout from the same random weights on the same random batches in each
precision: tokens a second (median of the steps after the first ten), the most GPU memory Paddle had allocated, losses.
``attention`` times one layer's attention, forward and backward, as the network computes it and with Paddle's
``scaled_dot_product_attention``, which takes FlashAttention's kernels where it can. ``packed`` times the encoder over
rows of unlike length, with padding and, by ``flash_attn_unpadded``, without. ``--device cpu`` tries the code.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

RESULTS = ROOT / "benchmark" / "results" / "gpu.jsonl"
WARM_UP = 10
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("training", "attention", "packed", "report"))
    parser.add_argument("--config", help="ernie_config.json")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--max_seq_len", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    if args.part != "report" and not args.config:
        parser.error("--config is needed")
    if args.steps <= WARM_UP:
        parser.error(f"--steps must be above {WARM_UP}")
    return args


def checked_precision(name, place):
    """What training computes in. Raises UserError: the device cannot."""
    from propeller.train.precision import precision

    return precision(place, fp16=name == "fp16", bf16=name == "bf16")


def training(args):
    """Steps of a classifier; a dict with ``tokens_per_second``, ``peak_mib``, ``losses``, ``skipped_steps``."""
    import numpy as np
    import paddle

    from ernie.config import ErnieConfig
    from ernie.memory import Setting, estimate
    from ernie.optimization import AdamW, OptimizationConfig
    from finetune.classification.classifier import Classifier
    from finetune.spec import ModelSpec
    from propeller import runtime
    from propeller.train import program
    from propeller.train.model import RunMode
    from propeller.train.trainer import Learner, RunConfig

    place = runtime.place("true" if args.device == "gpu" else "false")
    facts = ErnieConfig(args.config).to_dict()
    config = ErnieConfig({**facts, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    optimization = OptimizationConfig(learning_rate=2e-5, num_train_steps=args.steps, warmup_steps=0)

    def make_model(mode):
        return Classifier(config, ModelSpec(dropout=0.0), mode, AdamW(optimization))

    learner = Learner(make_model, RunConfig(seed=1, precision=checked_precision(args.precision, place), place=place))
    graph = learner.graphs.train()
    random = np.random.RandomState(0)
    for name, shape in sorted(learner.parameter_shapes(RunMode.TRAIN).items()):
        ones, zeros = name.endswith("norm_scale"), name.endswith(("_bias", ".b_0", "_b"))
        array = np.ones(shape) if ones else np.zeros(shape) if zeros else random.standard_normal(shape) * 0.02
        learner.write({name: array.astype("float32")})
    program.initialise(learner.executor, learner.scope, graph.gradient.startup, place, 1)
    gradient = dataclasses.replace(graph.gradient, feeds=())  # its batch and the optimiser's numbers are all fed
    times, losses, skipped, updates = [], [], 0, 0
    for _ in range(args.steps):
        batch = random_batch(random, args, config.vocab_size)
        began = time.perf_counter()
        fetched = learner._run(gradient, {**batch, **graph.optimizer.feed(updates)})
        times.append(time.perf_counter() - began)  # fetching the loss waits for the device
        bad = bool(fetched.get("skipped"))
        skipped, updates = skipped + bad, updates + (not bad)
        losses.append(float(fetched["loss"]))
    setting = Setting(args.batch_size, args.max_seq_len, args.precision != "fp32", args.device == "gpu")
    peak = paddle.device.cuda.max_memory_allocated() / 2**20 if args.device == "gpu" else None
    return {
        "tokens_per_second": args.batch_size * args.max_seq_len / statistics.median(times[WARM_UP:]),
        "peak_mib": peak,
        "estimated_mib": estimate(config, setting)["total"][0] / 2**20,
        "losses": losses,
        "skipped_steps": skipped,
    }


def random_batch(random, args, vocab_size):
    import numpy as np

    shape = (args.batch_size, args.max_seq_len)
    zeros = np.zeros(shape, "int64")
    return {
        "src_ids": random.randint(0, vocab_size, shape),
        "sent_ids": zeros,
        "pos_ids": np.tile(np.arange(args.max_seq_len), (args.batch_size, 1)),
        "task_ids": zeros,
        "input_mask": np.ones(shape, "float32"),
        "labels": random.randint(0, 2, (args.batch_size, 1)),
    }


def attention(args):
    """Seconds of one layer's attention, forward and backward, written out and fused."""
    import numpy as np
    import paddle
    import paddle.nn.functional as F

    from ernie.config import ErnieConfig
    from propeller import runtime

    checked_precision(args.precision, runtime.place("true" if args.device == "gpu" else "false"))
    paddle.disable_static()
    paddle.set_device(args.device)
    config = ErnieConfig(args.config)
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    dtype = DTYPES[args.precision]
    shape = [args.batch_size, args.max_seq_len, heads, size]
    random = np.random.RandomState(0)
    tensors = [paddle.to_tensor(random.standard_normal(shape).astype("float32")).astype(dtype) for _ in range(3)]
    for tensor in tensors:
        tensor.stop_gradient = False

    def written_out(query, key, value):
        query, key, value = (x.transpose([0, 2, 1, 3]) for x in (query, key, value))
        scores = paddle.matmul(query, key, transpose_y=True).astype("float32") * size**-0.5
        return paddle.matmul(F.softmax(scores).astype(dtype), value).transpose([0, 2, 1, 3])

    found = {}
    for name, function in (("written_out", written_out), ("fused", F.scaled_dot_product_attention)):
        times = []
        for _ in range(args.steps):
            began = time.perf_counter()
            function(*tensors).astype("float32").sum().backward()
            float(tensors[0].grad.astype("float32").sum())  # waits for the device
            times.append(time.perf_counter() - began)
            for tensor in tensors:
                tensor.clear_gradient()
        found[f"{name}_seconds"] = statistics.median(times[WARM_UP:])
    return found


def packed(args):
    """An encoder with padding and without: tokens that are no padding a second, and how far the states differ."""
    from benchmark.parts import gpu_packed
    from propeller import runtime

    checked_precision(args.precision, runtime.place("true" if args.device == "gpu" else "false"))
    return gpu_packed.measure(args, DTYPES[args.precision], WARM_UP)


def report(path):
    """The table of what was measured, the last measurement of each."""
    if not path.exists():
        sys.exit(f"{path} is not there: run sh benchmark/gpu.sh on a machine with a GPU")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    last = {(row["part"], row["config"], row["batch_size"], row["max_seq_len"], row["precision"]): row for row in rows}
    print("model            batch       precision  tokens/s  times fp32  peak MiB  table MiB  largest loss difference")
    for key, row in last.items():
        name = f"{Path(key[1]).stem.replace('ernie_config_', ''):<16} {key[2]:>3} x {key[3]:<5} {key[4]:<9}"
        if row["part"] == "attention":
            ratio = row["written_out_seconds"] / row["fused_seconds"]
            print(f"{name} attention: fused takes {row['fused_seconds'] * 1e3:.2f} ms, {ratio:.2f} times as fast")
            continue
        if row["part"] == "packed":
            ratio = row["packed_tokens_per_second"] / row["padded_tokens_per_second"]
            print(f"{name} without padding: {ratio:.2f} times as fast, states within {row['largest_difference']:.2g}")
            continue
        exact = last.get((*key[:4], "fp32"), row)
        ratio = row["tokens_per_second"] / exact["tokens_per_second"]
        peak = f"{row['peak_mib']:,.0f}" if row["peak_mib"] else "-"
        off = max(abs(a - b) for a, b in zip(row["losses"], exact["losses"]))
        print(
            f"{name} {row['tokens_per_second']:>10,.0f} {ratio:>11.2f} {peak:>9} "
            f"{row['estimated_mib']:>10,.0f} {off:>12.4f}"
        )


def main(argv):
    """Measure and note, or report."""
    args = flags(argv)
    if args.part == "report":
        report(args.results)
        return 0
    from propeller import runtime

    runtime.prepare()
    measured = {"training": training, "attention": attention, "packed": packed}[args.part](args)
    given = {name: value for name, value in vars(args).items() if name not in ("results",)}
    args.results.parent.mkdir(exist_ok=True)
    with open(args.results, "a", encoding="utf8") as file:
        file.write(json.dumps({**given, **measured}) + "\n")
    print({**given, **{k: v for k, v in measured.items() if k != "losses"}})
    return 0


if __name__ == "__main__":
    from propeller.errors import exit_on_user_error

    exit_on_user_error(main, sys.argv[1:])
