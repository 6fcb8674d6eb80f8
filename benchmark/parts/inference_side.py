"""One side of the speed comparison: predicts the rows of a file again and again, tokenisation included.

    python benchmark/parts/inference_side.py BUNDLE FILE paddle  # run by benchmark/inference.py; see --help

A line on stdin starts a round; a line of JSON answers it: ``seconds``, ``cpu`` (seconds of the processor), ``rows``,
and in the first round ``labels``, the class of each row in the file's order. ``executor`` is what training runs: the
same Program by Paddle's Executor.

    echo round | python benchmark/parts/inference_side.py BUNDLE FILE paddle-bf16 --profile   # a round by kernel
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from propeller import runtime  # noqa: E402

BATCH = 32
# kind -> (engine, precision)
ENGINES = {
    "paddle": ("paddle", "fp32"),
    "paddle-bf16": ("paddle", "bf16"),
    "onnxruntime": ("onnxruntime", "fp32"),
    "openvino": ("openvino", "fp32"),
    "openvino-bf16": ("openvino", "bf16"),
    "auto": ("auto", "fp32"),
}


def executor(model):
    """A function of a batch like `InferenceModel.run`, by Paddle's Executor over the bundle's Program."""
    import paddle

    paddle.enable_static()
    engine, scope = paddle.static.Executor(paddle.CPUPlace()), paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        loaded = paddle.static.load_inference_model(str(model.bundle.folder / "model"), engine)
    program, names, targets = loaded

    def run(batch):
        feed = {name: batch[name] for name in names}
        return dict(zip(model.bundle.outputs, engine.run(program, feed=feed, fetch_list=targets, scope=scope)))

    return run


def predict(model, run, path):
    """The class of each row, int64 [rows], in the file's order."""
    from reader.ordered import ordered_batches

    reader = model.reader(path, batch_size=BATCH)
    labels = np.empty(reader.num_examples, np.int64)
    for item in ordered_batches(reader):
        labels[item.rows] = run(item.batch)["probs"].argmax(1)
    return labels


def profiled():
    """Let predictors that are made from now on print a table of their kernels at the end."""
    from propeller.service import engines

    plain = engines.paddle_config

    def config(*args):
        made = plain(*args)
        made.enable_profile()
        return made

    engines.paddle_config = config


def main(args):
    """Answer rounds until stdin ends."""
    runtime.prepare()
    if args.profile:
        profiled()
    from finetune.prediction.model import InferenceModel

    plain = args.kind == "executor"
    engine, precision = ENGINES.get(args.kind, ("paddle", "fp32"))
    model = InferenceModel.open(args.bundle, precision, args.threads, "false", with_predictor=not plain, engine=engine)
    run = executor(model) if plain else model.run
    first = True
    for _ in sys.stdin:
        begin, busy = time.perf_counter(), time.process_time()
        labels = predict(model, run, args.file)
        answer = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - busy, "rows": len(labels)}
        print(json.dumps({**answer, "labels": labels.tolist()} if first else answer), flush=True)
        first = False
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("file")
    parser.add_argument("kind", choices=(*ENGINES, "executor"))
    parser.add_argument("--threads", type=int, help="[all cores]")
    parser.add_argument("--profile", action="store_true", help="print a table of the kernels at the end")
    sys.exit(main(parser.parse_args()))
