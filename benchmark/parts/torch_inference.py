"""The peer of the speed comparison: transformers and torch over the same file, tokenisation included.

    python benchmark/parts/torch_inference.py HF FILE fp32  # run by inference.py; also autocast and bf16-weights

A line on stdin starts a round; a line of JSON answers it: ``seconds``, ``cpu`` (seconds of the processor),
``rows``, and in the first round ``labels``.
As fast as it goes without another runtime: the tokenizer written in Rust, rows sorted by length over the whole file,
batches padded to their longest row, inference mode, transformers' own choice of attention. No code of the project.
"""

import argparse
import contextlib
import csv
import json
import os
import sys
import time

BATCH, MAX_SEQ_LEN = 32, 128


def read_texts(path):
    """The column text_a of a TSV."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        column = next(rows).index("text_a")
        return [row[column] for row in rows]


def predict(model, tokenizer, path, precision):
    """The class of each row, a list in the file's order."""
    import torch

    ids = tokenizer(read_texts(path), truncation=True, max_length=MAX_SEQ_LEN)["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
    labels = [0] * len(ids)
    cast = torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else contextlib.nullcontext()
    with torch.inference_mode(), cast:
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt")
            for row, label in zip(rows, model(**batch).logits.argmax(1).tolist()):
                labels[row] = label
    return labels


def main(args):
    """Answer rounds until stdin ends."""
    import torch
    from transformers import AutoModelForSequenceClassification, BertTokenizerFast, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    tokenizer = BertTokenizerFast.from_pretrained(args.hf, do_lower_case=True)
    model = AutoModelForSequenceClassification.from_pretrained(args.hf).eval()
    if args.kind == "bf16-weights":
        model = model.to(torch.bfloat16)
    first = True
    for _ in sys.stdin:
        begin, busy = time.perf_counter(), time.process_time()
        labels = predict(model, tokenizer, args.file, args.kind)
        answer = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - busy, "rows": len(labels)}
        print(json.dumps({**answer, "labels": labels} if first else answer), flush=True)
        first = False
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hf")
    parser.add_argument("file")
    parser.add_argument("kind", choices=("fp32", "autocast", "bf16-weights"))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[all cores]")
    sys.exit(main(parser.parse_args()))
