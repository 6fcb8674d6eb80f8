"""Runs of train.py for benchmark/pretraining.py and benchmark/continual.py, and the stage both begin with.

    short = ShortStage(corpus, steps=1500)
    found = short.run(threads, cells.end)           # {"steps": 1500, "ppl": ...}; None where the minutes were used up
    pretrain(corpus, folder, entries, {**flags, "init_pretraining_params": short.params}, threads, end)

The stage masks pieces in instances of few tokens, where what stands beside a masked piece is most of what there is;
with long ones a new encoder this small needs far more steps to see anything but what is frequent.
"""

from __future__ import annotations

import json

from benchmark.parts.pretraining_cells import records
from benchmark.parts.pretraining_corpus import digest, join_lists, run_script
from propeller.files import write_file

SHORT_SEQ_LEN = 12
MASKING = "knowledge_masking"
PRETRAINING = {
    "batch_size": 1024,
    "in_tokens": "true",
    "learning_rate": 1e-3,
    "beta2": 0.98,
    "weight_decay": 0.01,
    "random_seed": 1,
    "shuffle_buffer": 100_000,  # all of it: a file is one text
}


def masking_entry(lists, steps, next_sentence=False) -> dict:
    """Masking, for a task list. Args: lists: "" and "_valid" -> filelist; next_sentence: whether pairs are told too."""
    return {
        "name": MASKING,
        "task_id": 0,
        "head": {"next_sentence": next_sentence},
        "filelist": str(lists[""].resolve()),
        "valid_filelist": str(lists["_valid"].resolve()),
        "start_stage": 1,
        "steps": [steps],
    }


def pretrain(corpus, folder, entries, flags, threads, end):
    """Run train.py over a corpus; the records of its metrics.jsonl, None where the minutes were used up.

    Args: folder: of the checkpoints, beside which task list and log are written; entries: of the task list; flags:
        for train.py, without places; end: of time.monotonic, where it is stopped, to go on with the next start.
    """
    listed = folder.with_suffix(".json")
    write_file(listed, (json.dumps({"tasks": entries}, indent=1) + "\n").encode())
    given = {
        **flags,
        "ernie_config_path": corpus.folder / "pretraining.json",
        "vocab_path": corpus.vocab,
        "task_list": listed,
        "save_steps": 200,
        "keep_checkpoints": 1,
        "skip_steps": 50,
        "use_cuda": "false",
        "checkpoints": folder,
    }
    return records(folder) if run_script("train.py", given, folder.with_suffix(".log"), threads, end) else None


def last_scores(found):
    """{"steps", "ppl", "acc"} of held-out text, and "next_sent_acc" of pairs, from records; None for None."""
    if found is None:
        return None
    record = [record for record in found if record["event"] == "dev"][-1]
    scores = {name: record[name] for name in ("ppl", "acc", "next_sent_acc") if name in record}
    return {"steps": record["step"], **scores}


def masking_lists(corpus, name, length, pairs) -> dict:
    """Part ("" or "_valid") -> filelist of the instances of `length` tokens, which are built where they are missing.

    Args: pairs: of pretrain.build_data: "positive", or "mixed" to tell pairs too.
    """
    found = {}
    for part in ("", "_valid"):
        folders = corpus.build(name, part, pairs=pairs, max_seq_len=length)
        found[part] = join_lists([folder / "filelist" for folder in folders], corpus.folder / f"{name}{part}.list")
    return found


class ShortStage:
    """Masked pieces in instances of SHORT_SEQ_LEN tokens, over one corpus.

    Attributes: flags: for train.py; folder: of its checkpoints; params: its weights; known: what they depend on.
    """

    def __init__(self, corpus, steps):
        self.corpus, self.steps = corpus, steps
        form = {"max_seq_len": SHORT_SEQ_LEN, "mask_units": "basic"}
        self.flags = {**PRETRAINING, **form, "warmup_steps": steps // 10}
        self.known = [steps, self.flags]
        self.folder = corpus.folder / f"short-{digest([self.known])}"
        self.params = self.folder / "params"
        self.lists = masking_lists(corpus, "short", SHORT_SEQ_LEN, "positive")

    def run(self, threads, end):
        """steps and scores of held-out text; None where the minutes were used up."""
        flags = {**self.flags, "validation_steps": 0}
        entries = [masking_entry(self.lists, self.steps)]
        return last_scores(pretrain(self.corpus, self.folder, entries, flags, threads, end))
