"""What the tests of ernie_encoder.py share: rows, the script in this process or as its user starts it, its files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np

from finetune.embedding.files import COUNTS, MANIFEST, STATES, TOKENS, VECTORS
from finetune.embedding.main import main
from tests.helpers.common import ROOT
from tests.helpers.tiny import sentences, write_tsv

FILES = {VECTORS, STATES, COUNTS, TOKENS, MANIFEST}


def write_rows(folder):
    """Write rows.tsv: 70 pairs of different lengths, some second texts empty; returns its path."""
    one, two = sentences(70, 1), sentences(70, 2)
    pairs = [(a, b if i % 3 else "") for i, ((_, a), (_, b)) in enumerate(zip(one, two))]
    return write_tsv(folder / "rows.tsv", pairs, ("text_a", "text_b"))


def words(model, rows, out, **changes):
    """The command line of a run; a change of None leaves the flag out."""
    values = {
        "use_cuda": "false",
        "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt",
        "init_pretraining_params": model / "params",
        "data_set": rows,
        "output_dir": out,
        "for_cn": "false",
        "max_seq_len": 24,
        **changes,
    }
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]


def from_bundle(bundle, **changes):
    """Changes of `words` for a run from an inference model alone."""
    names = ("ernie_config_path", "vocab_path", "init_pretraining_params", "for_cn", "max_seq_len")
    return {**dict.fromkeys(names), "inference_model": bundle, **changes}


def embed(model, rows, out, **changes):
    """Run in this process; the log, and what `load` gives."""
    shown = io.StringIO()
    with redirect_stderr(shown):
        main("ernie_encoder.py", words(model, rows, out, **changes))
    return SimpleNamespace(log=shown.getvalue(), **vars(load(out)))


def load(out):
    """The arrays and texts of a folder; states is a list of [tokens, hidden], None where there are none."""
    vectors, counts = np.load(out / VECTORS, mmap_mode="r"), np.load(out / COUNTS)
    states = None
    if (out / STATES).exists():
        flat = np.load(out / STATES, mmap_mode="r")
        assert len(flat) == counts.sum()
        states = np.split(np.array(flat), np.cumsum(counts)[:-1])
    tokens = [line.split("\t") for line in (out / TOKENS).read_text(encoding="utf-8").splitlines()]
    assert [len(line) for line in tokens] == counts.tolist()
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    return SimpleNamespace(vectors=vectors, states=states, counts=counts, tokens=tokens, manifest=manifest)


def assert_near(found, expected, atol=2e-6):
    np.testing.assert_allclose(found.vectors, expected.vectors, atol=atol)
    assert found.tokens == expected.tokens
    for one, other in zip(found.states, expected.states):
        np.testing.assert_allclose(one, other, atol=atol)


def start(*command, **options):
    """The script as its user starts it."""
    return subprocess.run(
        [sys.executable, str(ROOT / "ernie_encoder.py"), *command],
        capture_output=True, text=True, check=False, timeout=300, **options,
    )  # fmt: skip
