"""The peer of the comparisons: transformers' heads, torch's AdamW and dropout, one pass over given batches.

    python benchmark/parts/torch_peer.py FOLDER  # run by comparison.py, which makes FOLDER; prints JSON

FOLDER holds hf/ (a model with a head), train.npz and dev.npz (arrays ``<batch>/<name>`` as the reader made
them) and job.json. It shares no code with the project: of the batches it takes ids, mask and labels, of the job the
rates; losses are torch's, scores scikit-learn's, scipy's and seqeval's. Of reading comprehension the logits of every
window go to logits.npz, to be made answers elsewhere.
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


def span_logits(model, batch, job):
    """Start and end logits [batch, seq] of a question answering model, with the dropout of the job before its head.

    Both cross entropies are over the padding too, so a padded place must be what it is here: at position 0, and with a
    mask that lets it see every place alike. transformers' own would count on, and see the tokens alone. Its gradient
    reaches the embedding of padding, too (see `main`).
    """
    import torch
    import torch.nn.functional as F

    given = features(model, batch)
    mask = given.pop("attention_mask").float()
    seen = mask[:, None, :, None] * mask[:, None, None, :]  # [batch, 1, query, key]
    given.update(attention_mask=(seen - 1.0) * 10000.0, position_ids=torch.from_numpy(batch["pos_ids"]).long())
    states = model.base_model(**given).last_hidden_state
    states = F.dropout(states, job["head_dropout"], training=model.training)
    return torch.unbind(model.qa_outputs(states), -1)


def batch_loss(model, batch, job):
    """The mean loss of a batch."""
    import torch
    import torch.nn.functional as F

    if job["task"] != "mrc":
        return mean_loss(model(**features(model, batch)).logits, batch, job)
    sides = zip(span_logits(model, batch, job), ("start", "end"))
    return sum(F.cross_entropy(logits, torch.from_numpy(batch[name]).flatten()) for logits, name in sides) / 2


def make_optimizer(model, weight_decay):
    """torch.optim.AdamW, no decay on layer norms and biases."""
    import torch

    groups = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups["LayerNorm" not in name and not name.endswith("bias")].append(parameter)
    parts = [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}]
    return torch.optim.AdamW(parts, lr=0.0, betas=(0.9, 0.999), eps=1e-8)


def mean_loss(logits, batch, job, reduction="mean"):
    """The task's loss: cross entropy, squared error, or over tags the cross entropies of the tokens, their sum divided
    by all places of the batch, padding too."""
    import torch
    import torch.nn.functional as F

    labels = torch.from_numpy(batch["labels"])
    if job["task"] == "regression":
        return F.mse_loss(logits, labels, reduction=reduction)
    if job["task"] == "classify":
        return F.cross_entropy(logits, labels.flatten(), reduction=reduction)
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
    tokens = torch.arange(labels.shape[1])[None, :] < torch.from_numpy(batch["seq_lens"])
    return (losses * tokens).sum() / labels.numel()


def train(model, batches, job):
    """One update a batch; the loss of every batch before its update."""
    import torch

    optimizer, losses = make_optimizer(model, job["weight_decay"]), []
    model.train()
    if len(batches) != len(job["rates"]):
        raise ValueError(f"{len(job['rates'])} learning rates for {len(batches)} batches")
    for batch, rate in zip(batches, job["rates"]):
        loss = batch_loss(model, batch, job)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job["clip_norm"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return losses


def evaluate(model, batches, job):
    """dict with the scores of the task's metric and, but for tags, the mean loss over the batches' rows."""
    import torch

    model.eval()
    total, logits = 0.0, []
    with torch.no_grad():
        for batch in batches:
            logits.append(model(**features(model, batch)).logits)
            if job["task"] != "sequence_label":
                total += float(mean_loss(logits[-1], batch, job, reduction="sum"))
    if job["task"] == "sequence_label":
        return tag_scores([part.argmax(-1).numpy() for part in logits], batches, job["tags"])
    labels = np.concatenate([batch["labels"] for batch in batches]).ravel()
    return {**scores(job["metric"], torch.cat(logits).numpy(), labels), "loss": total / len(labels)}


def write_spans(model, batches, job, path):
    """The logits of every window, ``<unique id>`` -> float32 [2, seq]."""
    import torch

    model.eval()
    found = {}
    with torch.no_grad():
        for batch in batches:
            both = torch.stack(span_logits(model, batch, job), 1).numpy()  # [batch, 2, seq]
            found.update((str(number), both[row]) for row, number in enumerate(batch["unique_ids"].ravel()))
    np.savez(path, **found)


def scores(metric, logits, labels):
    """The figures of a metric, by their names here. logits: [n, outputs]; labels: [n]."""
    from scipy import stats
    from sklearn import metrics

    if metric == "pearson_and_spearman":
        logits = logits.ravel()
        return {"pearson": float(stats.pearsonr(logits, labels)[0]),
                "spearmanr": float(stats.spearmanr(logits, labels)[0])}  # fmt: skip
    found = logits.argmax(1)
    if metric == "matthews_corrcoef":
        return {metric: float(metrics.matthews_corrcoef(labels, found))}
    right = {"acc": float(metrics.accuracy_score(labels, found))}
    return {**right, "f1": float(metrics.f1_score(labels, found))} if metric == "acc_and_f1" else right


def tag_scores(found, batches, tags):
    """Chunk F1, precision and recall of sentences put together from their windows.

    found: int arrays [batch, seq]; of a row the places keep[0]..keep[1] - 1 count, and last_part ends a sentence.
    """
    from seqeval.metrics import f1_score, precision_score, recall_score

    sides = ([[]], [[]])
    for predicted, batch in zip(found, batches):
        for row, (begin, end) in enumerate(batch["keep"]):
            for side, classes in zip(sides, (batch["labels"], predicted)):
                side[-1] += [tags[number] for number in classes[row, begin:end]]
                if batch["last_part"][row, 0]:
                    side.append([])
    wanted, given = sides
    named = {"f1": f1_score, "precision": precision_score, "recall": recall_score}
    return {name: float(function(wanted, given, zero_division=0)) for name, function in named.items()}


def main(folder):
    """Run the job and print its figures."""
    import torch
    from transformers import (
        AutoModelForQuestionAnswering,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        logging,
    )

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = Path(folder)
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    kinds = {"mrc": AutoModelForQuestionAnswering, "sequence_label": AutoModelForTokenClassification}
    kind = kinds.get(job["task"], AutoModelForSequenceClassification)
    model = kind.from_pretrained(folder / "hf", attn_implementation="eager", num_labels=job["num_labels"])
    if job["task"] == "mrc":  # its loss is over padding, whose embedding learns with the others here, as in 2019
        model.base_model.embeddings.word_embeddings.padding_idx = None
    torch.manual_seed(job["dropout_seed"])
    found = {"losses": train(model, read_batches(folder / "train.npz"), job)}
    if job["evaluate"] and job["task"] == "mrc":
        write_spans(model, read_batches(folder / "dev.npz"), job, folder / "logits.npz")
    elif job["evaluate"]:
        found.update(evaluate(model, read_batches(folder / "dev.npz"), job))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    sys.exit(main(parser.parse_args().folder))
