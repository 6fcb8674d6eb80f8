"""The peer of label sets and multiple choice: transformers' heads, torch's losses and AdamW over given batches.

    python benchmark/parts/task_peer.py FOLDER      # run by task_peers.py, which makes FOLDER; prints JSON

FOLDER holds hf/, train.npz, dev.npz and job.json as for torch_peer.py, whose optimiser and batches are used here too.
Scores are scikit-learn's.
"""

import json
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmark.parts.torch_peer import features, make_optimizer, read_batches


def logits_of(model, batch, job):
    """[batch, labels] of label sets, or [batch, options] of questions that all have as many."""
    given = features(model, batch)
    if job["task"] == "multiple_choice":
        given = {name: value.reshape(len(batch["labels"]), -1, value.shape[-1]) for name, value in given.items()}
    return model(**given).logits


def loss_of(logits, batch, job):
    """The mean loss of a batch."""
    import torch
    import torch.nn.functional as F

    labels = torch.from_numpy(batch["labels"])
    if job["task"] == "multiple_choice":
        return F.cross_entropy(logits, labels.flatten())
    return F.binary_cross_entropy_with_logits(logits, labels)


def main(folder):
    """Run the job and print its score and the losses."""
    import torch
    from sklearn import metrics
    from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = Path(folder)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    if job["task"] == "multiple_choice":
        model = AutoModelForMultipleChoice.from_pretrained(folder / "hf", attn_implementation="eager")
    else:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder / "hf", attn_implementation="eager", num_labels=job["num_labels"]
        )
    torch.manual_seed(job["dropout_seed"])
    optimizer, losses = make_optimizer(model, job["weight_decay"]), []
    model.train()
    for batch, rate in zip(read_batches(folder / "train.npz"), job["rates"], strict=True):
        loss = loss_of(logits_of(model, batch, job), batch, job)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    batches = read_batches(folder / "dev.npz")
    with torch.no_grad():
        logits = torch.cat([logits_of(model, batch, job) for batch in batches]).numpy()
    labels = np.concatenate([batch["labels"] for batch in batches])
    if job["task"] == "multiple_choice":
        score = metrics.accuracy_score(labels.ravel(), logits.argmax(1))
    else:
        score = metrics.f1_score(labels > 0.5, logits > 0, average="micro", zero_division=0)
    print(json.dumps({"score": float(score), "losses": losses}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
