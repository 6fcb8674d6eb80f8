"""The peer of benchmark/real_rows.py: a plain loop of transformers and torch over batches that are there already.

python benchmark/parts/rows_peer.py TASK batches.npz ernie_config.json found.json

TASK is that of ``python -m finetune``, or pretrain. found.json gets steps a second, without the first ones.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

WARM = 5  # as in real_rows.py
GIVEN = {"input_ids": "src_ids", "token_type_ids": "sent_ids", "attention_mask": "input_mask"}
HEADS = {
    "classify": (BertForSequenceClassification, {"labels": "labels"}),
    "sequence_label": (BertForTokenClassification, {"labels": "labels"}),
    "pretrain": (BertForMaskedLM, {}),
    "mrc": (BertForQuestionAnswering, {"start_positions": "start", "end_positions": "end"}),
}


def batches_of(path):
    stored, found = np.load(path), {}
    for key in stored.files:
        number, name = key.split("/")
        found.setdefault(int(number), {})[name] = stored[key]
    return [found[number] for number in sorted(found)]


def masked_loss(model, given, batch):
    """The mean cross entropy of the masked pieces, whose states alone reach the output layer."""
    states = model.bert(**given).last_hidden_state
    picked = states.flatten(0, 1)[torch.from_numpy(batch["mask_pos"]).flatten()]
    return torch.nn.functional.cross_entropy(model.cls(picked), torch.from_numpy(batch["mask_label"]).flatten())


def main(task, batches, config, out):
    """Train over all batches once."""
    kind, targets = HEADS[task]
    ernie = json.loads(Path(config).read_text())
    batches = batches_of(batches)
    labels = 2
    if task == "sequence_label":
        labels = 1 + max(int(batch["labels"].max()) for batch in batches)
    model = kind(BertConfig(
        vocab_size=ernie["vocab_size"], hidden_size=ernie["hidden_size"], num_labels=labels,
        num_hidden_layers=ernie["num_hidden_layers"], num_attention_heads=ernie["num_attention_heads"],
        intermediate_size=ernie.get("intermediate_size", 4 * ernie["hidden_size"]),
        max_position_embeddings=ernie["max_position_embeddings"],
    )).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
    clock = []
    for batch in batches:
        given = {theirs: torch.from_numpy(batch[name]).long() for theirs, name in GIVEN.items()}
        for theirs, name in targets.items():
            array = batch[name]
            given[theirs] = torch.from_numpy(array).long() if array.shape == batch["src_ids"].shape else (
                torch.from_numpy(array).long().flatten())  # fmt: skip
        loss = masked_loss(model, given, batch) if task == "pretrain" else model(**given).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        clock.append(time.monotonic())
    seconds = np.diff(clock)[WARM - 1 :]
    Path(out).write_text(json.dumps({"steps_per_second": len(seconds) / float(seconds.sum()), "steps": len(clock)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
