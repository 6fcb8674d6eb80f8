"""The peer of the SST-2 comparisons: transformers' classifier, torch's AdamW and dropout, one pass over given batches.

    python benchmark/torch_peer.py FOLDER           # run by benchmark/sst2.py, which makes FOLDER; prints JSON

FOLDER holds hf/ (a sequence classifier), train.npz and dev.npz (arrays ``<batch>/<name>`` as the reader made them) and
job.json. It shares no code with the project: of the batches it takes ids, mask and labels, of the job the rates.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np


def read_batches(path):
    """The arrays of a batch by name, batch by batch."""
    with np.load(path, allow_pickle=False) as stored:
        batches = {}
        for key in stored.files:
            number, name = key.split("/")
            batches.setdefault(int(number), {})[name] = stored[key]
    return [batches[number] for number in sorted(batches)]


def features(model, batch):
    """The batch as transformers takes it; positions are left to it."""
    import torch

    names = {"input_ids": "src_ids", "token_type_ids": "sent_ids", "attention_mask": "input_mask"}
    if model.config.model_type == "ernie":
        names["task_type_ids"] = "task_ids"
    return {theirs: torch.from_numpy(batch[ours]).long() for theirs, ours in names.items()}


def make_optimizer(model, weight_decay):
    """torch.optim.AdamW, no decay on layer norms and biases."""
    import torch

    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups["LayerNorm" not in name and not name.endswith("bias")].append(parameter)
    parts = [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]
    return torch.optim.AdamW(parts, lr=0.0, betas=(0.9, 0.999), eps=1e-8)


def train(model, batches, job):
    """One update a batch; the loss of every batch before its update."""
    import torch
    import torch.nn.functional as F

    optimizer, losses = make_optimizer(model, job["weight_decay"]), []
    model.train()
    if len(batches) != len(job["rates"]):
        raise ValueError(f"{len(job['rates'])} learning rates for {len(batches)} batches")
    for batch, rate in zip(batches, job["rates"]):
        logits = model(**features(model, batch)).logits
        loss = F.cross_entropy(logits, torch.from_numpy(batch["labels"]).flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return losses


def evaluate(model, batches):
    """dict with accuracy and mean loss over the batches' rows."""
    import torch
    import torch.nn.functional as F

    model.eval()
    right, total, rows = 0, 0.0, 0
    with torch.no_grad():
        for batch in batches:
            logits, labels = model(**features(model, batch)).logits, torch.from_numpy(batch["labels"]).flatten()
            right += int((logits.argmax(1) == labels).sum())
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            rows += len(labels)
    return {"acc": right / rows, "loss": total / rows}


def main(folder):
    """Run the job and print its figures."""
    import torch
    from transformers import AutoModelForSequenceClassification, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = Path(folder)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    model = AutoModelForSequenceClassification.from_pretrained(folder / "hf", attn_implementation="eager")
    torch.manual_seed(job["dropout_seed"])
    found = {"losses": train(model, read_batches(folder / "train.npz"), job)}
    if job["evaluate"]:
        found.update(evaluate(model, read_batches(folder / "dev.npz")))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    sys.exit(main(parser.parse_args().folder))
