"""A peer of the speed comparison: ONNX Runtime or OpenVINO alone over a bundle's model.onnx, tokenisation included.

    python benchmark/parts/raw_inference.py BUNDLE FILE onnxruntime  # run by inference.py; also openvino

A line on stdin starts a round; a line of JSON answers it: ``seconds``, ``cpu`` (seconds of the processor),
``rows``, and in the first round ``labels``.
As its users write it: the tokenizer written in Rust, rows sorted by length over the whole file, batches padded to their
longest row, the library's own settings but for the number of threads and, in OpenVINO, float32. No code of the project.
"""

import argparse
import csv
import json
import os
import sys
import time

import numpy as np

BATCH, MAX_SEQ_LEN = 32, 128


def read_texts(path):
    """The column text_a of a TSV."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        column = next(rows).index("text_a")
        return [row[column] for row in rows]


def onnxruntime_model(path, threads):
    """A function of named arrays that gives the outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed)))


def openvino_model(path, threads):
    """The same by OpenVINO; by itself it would take bfloat16 where the processor has it."""
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = openvino.Core().compile_model(path, "CPU", options)
    return lambda feed: {next(iter(port.get_names())): array for port, array in model(feed).items()}


def batch_of(ids):
    """Named arrays of rows of ids, as the model takes them."""
    lengths = np.array([len(row) for row in ids])
    shape = len(ids), int(lengths.max())
    mask = np.arange(shape[1]) < lengths[:, None]
    padded = np.zeros(shape, np.int64)
    padded[mask] = np.concatenate(ids)
    places = np.tile(np.arange(shape[1], dtype=np.int64), (shape[0], 1)) * mask
    return {"src_ids": padded, "sent_ids": np.zeros(shape, np.int64), "pos_ids": places,
            "input_mask": mask.astype(np.float32)}  # fmt: skip


def predict(model, tokenizer, path):
    """The class of each row, int64 [rows], in the file's order."""
    ids = [row.ids for row in tokenizer.encode_batch(read_texts(path))]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
    labels = np.empty(len(ids), np.int64)
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        labels[rows] = model(batch_of([ids[row] for row in rows]))["probs"].argmax(1)
    return labels


def main(args):
    """Answer rounds until stdin ends."""
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(f"{args.bundle}/vocab.txt", lowercase=True)
    tokenizer.enable_truncation(MAX_SEQ_LEN)
    make = {"onnxruntime": onnxruntime_model, "openvino": openvino_model}[args.kind]
    model, first = make(f"{args.bundle}/model.onnx", args.threads), True
    for _ in sys.stdin:
        begin, busy = time.perf_counter(), time.process_time()
        labels = predict(model, tokenizer, args.file)
        answer = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - busy, "rows": len(labels)}
        print(json.dumps({**answer, "labels": labels.tolist()} if first else answer), flush=True)
        first = False
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("file")
    parser.add_argument("kind", choices=("onnxruntime", "openvino"))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[all cores]")
    sys.exit(main(parser.parse_args()))
