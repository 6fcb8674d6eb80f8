"""Shards of two tasks whose answer is in the text, a task list over them, and the command line of a short run.

sentence_distance: class 0, 1 or 2 by which words the sentences have; capitalization: tokens of GOOD have class 1.
"""

from __future__ import annotations

import json

import numpy as np

from tests.helpers.pretraining import IDS, instances, pretrain_flags, write_shard
from tests.helpers.tiny import BAD, GOOD, OTHER


def sentence_lines(count, seed):
    """Instances of two sentences: both of GOOD words, both of BAD ones, both of neither."""
    random, lines = np.random.RandomState(seed), []
    for number in range(count):
        label = number % 3
        kinds = ((GOOD, GOOD), (BAD, BAD), (OTHER[5:9], OTHER[5:9]))[label]
        texts = [[str(random.choice(kind)), *random.choice(OTHER[:5], 2)] for kind in kinds]
        lines.append(line_of(texts, label, [[0] * 3] * 2))
    return lines


def token_lines(count, seed):
    """Instances of a sentence whose GOOD words have class 1, others 0."""
    random, lines = np.random.RandomState(seed), []
    for _ in range(count):
        text = [str(word) for word in random.choice([*GOOD, *OTHER[:5]], random.randint(3, 8))]
        lines.append(line_of([text], 0, [[int(word in GOOD) for word in text]]))
    return lines


def line_of(texts, label, fourth):
    """A line of a shard from lists of words, each word a piece, and what the fourth field says of each."""
    words, sents, told = ["[CLS]"], ["0"], ["-1"]
    for number, (text, of_text) in enumerate(zip(texts, fourth)):
        words += [*text, "[SEP]"]
        sents += [str(min(number, 1))] * (len(text) + 1)
        told += [*map(str, of_text), "-1"]
    ids = " ".join(str(IDS[word]) for word in words)
    return ";".join([ids, " ".join(sents), " ".join(map(str, range(len(words)))), " ".join(told), str(label)])


LINES = {
    "knowledge_masking": instances,
    "sentence_distance": sentence_lines,
    "capitalization": token_lines,
}
TASKS = [
    {"name": "knowledge_masking", "task_id": 0, "head": {"next_sentence": False}, "steps": [4, 2, 2]},
    {"name": "sentence_distance", "task_id": 1, "head": {"classes": 3}, "start_stage": 2, "steps": [4, 2]},
    {"name": "capitalization", "task_id": 2, "head": {"classes": 2}, "start_stage": 3, "steps": [4], "weight": 0.5},
]


def make_task_shards(folder, lines=LINES, tasks=TASKS, counts=(60, 24)):
    """Write FOLDER/{train,valid}/TASK/filelist with their shards, and FOLDER/tasks.json; returns the folder.

    Args:
        lines: task -> function of (count, seed) that makes the lines of a shard.
        tasks: the list.
        counts: lines of training and of validation.
    """
    for seed, (part, count) in enumerate(zip(("train", "valid"), counts)):
        for name, make in lines.items():
            place = folder / part / name
            place.mkdir(parents=True)
            write_shard(place / "part.gz", make(count, seed))
            (place / "filelist").write_text(f"{place / 'part.gz'}\t1\n")
    write_list(folder / "tasks.json", tasks)
    return folder


def write_list(path, tasks):
    """Write a task list; filelists are those of ``make_task_shards``, by name."""
    places = [{part: f"{place}/{task['name']}/filelist" for part, place in PLACES.items()} for task in tasks]
    path.write_text(json.dumps({"tasks": [{**place, **task} for place, task in zip(places, tasks)]}))
    return path


PLACES = {"filelist": "train", "valid_filelist": "valid", "test_filelist": "valid"}


def task_flags(model, shards, checkpoints, **changes):
    """The command line of a short run of train.py with the task list."""
    own = {"task_list": shards / "tasks.json", "task_data": shards, "beta2": 0.98}
    left_out = dict.fromkeys(("train_filelist", "valid_filelist", "epoch", "num_train_steps"))
    return pretrain_flags(model, shards, checkpoints, **{**left_out, **own, **changes})
