"""Shared with tests/pretrain/test_build_data.py: builds in a folder."""

import hashlib
import json
import sys
from pathlib import Path

from pretrain import build_data


def flags(inputs, out, vocab, **changes):
    inputs = [inputs] if isinstance(inputs, (str, Path)) else inputs
    values = {"output": out, "vocab_path": vocab, "segmenter": "char", "max_seq_len": 40, "num_workers": 0, **changes}
    return [
        "--input",
        *map(str, inputs),
        *(word for name, value in values.items() for word in (f"--{name}", str(value))),
    ]


def build(inputs, out, vocab, *more, **changes):
    build_data.main([*flags(inputs, out, vocab, **changes), *more])
    return json.loads((out / "stats.json").read_text())


def digest(out):
    """Of all that a build leaves but its records, which name the time of the input."""
    paths = [*sorted((out / "shards").glob("*.gz")), out / "filelist", out / "stats.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def command(*words):
    return [sys.executable, "-m", "pretrain.build_data", *words]


def tasks_flags(inputs, out, vocab, tasks, **changes):
    """Of a build with --tasks."""
    return [*flags(list(inputs), out, vocab, **changes), *(["--tasks", ",".join(tasks)] if tasks else [])]


def tasks_digest(out):
    """Of all shards, lists and statistics of a build with --tasks."""
    paths = [path for pattern in ("shards/*.gz", "filelist", "stats.json") for path in sorted(out.glob(f"*/{pattern}"))]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
