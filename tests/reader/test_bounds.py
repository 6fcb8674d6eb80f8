"""Files that ask for more memory than they are worth are refused before it is taken, with their place and a remedy."""

import gzip
import os
import pickle
import tracemalloc

import numpy as np
import pytest

import tokenization_basic
from ernie import config as ernie_config
from ernie.config import ErnieConfig
from propeller import pdparams
from propeller.errors import UserError
from propeller.pdparams import read_pdparams
from propeller.variables import read_header
from reader import row_file, tsv
from reader.pretraining import shard_files
from reader.pretraining.shard_files import read_blocks
from reader.tsv import TsvFile
from tests.helpers.tiny import CONFIG
from tokenization import load_vocab

MOST = 1 << 12


@pytest.fixture
def short_lines(monkeypatch):
    """Lines of 4 KiB at most, in blocks of 1 KiB."""
    for module in (row_file, tsv, shard_files):
        monkeypatch.setattr(module, "LONGEST_LINE", MOST)
    monkeypatch.setattr(tsv, "BLOCK", 1 << 10)
    monkeypatch.setattr(shard_files, "CHUNK", 1 << 10)


@pytest.mark.parametrize(
    ("lines", "number"),
    [
        ([b"text_a", b"x" * MOST, b"y"], 2),
        ([b"text_a", b"y", b"y", b"x" * (MOST + 1)], 4),
        ([b"text_a", *[b"y" * 700] * 20, b"x" * 3 * MOST, b"y"], 22),
        ([b"text_a" + b"x" * MOST], 1),
    ],
)
def test_a_line_of_a_table(tmp_path, short_lines, lines, number):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=rf"rows\.tsv, line {number}: over 0 MiB without a line end"):
        TsvFile(path)


def test_the_longest_line_of_a_table_is_taken(tmp_path, short_lines):
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"\n".join([b"text_a", b"x" * (MOST - 1), b"y" * (MOST - 1), b"z"]))
    table = TsvFile(path)
    assert table.num_rows == 3
    assert table.bounds(np.arange(3))[0].tolist() == [7, 7 + MOST, 7 + 2 * MOST]


def test_a_line_of_a_shard(tmp_path, short_lines):
    path = tmp_path / "part.gz"
    path.write_bytes(gzip.compress(b"a line\n" + b"0" * (1 << 22)))
    blocks = read_blocks(path)
    assert next(blocks) == (0, b"a line")
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"part\.gz, line 2: over 0 MiB without a line end; make the shard again"):
            next(blocks)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20, "of 4 MiB"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000: make it a whole number from 1 to 1,000"),
        ({"hidden_size": 10**9}, "'hidden_size'"),
        ({"vocab_size": 10**12}, "'vocab_size'"),
        ({"vocab_size": 10**7, "hidden_size": 65536}, r"the network would have 7\d\d,\d{3},\d{3},\d{3} parameters"),
    ],
)
def test_a_configuration(change, words):
    with pytest.raises(UserError, match=words):
        ErnieConfig({**CONFIG, **change})


def test_parameters_are_counted():
    large = {**CONFIG, "num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "vocab_size": 30522,
             "intermediate_size": 4096, "max_position_embeddings": 512}  # fmt: skip
    assert ErnieConfig(large).num_parameters == pytest.approx(335e6, rel=0.01), "BERT large, as published"
    assert ErnieConfig(large).num_parameters < ernie_config.MOST_PARAMETERS


def test_a_vocabulary(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenization_basic, "VOCAB_LINES", 10)
    monkeypatch.setattr(tokenization_basic, "VOCAB_BYTES", 100)
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{n}\n" for n in range(10)))
    assert len(load_vocab(path)) == 10
    for content in ("a\n" * 11, "a" * 101):
        path.write_text(content)
        with pytest.raises(UserError, match=r"vocab\.txt: over 10 lines or 0 MiB"):
            load_vocab(path)


class Named:
    """Pickles as a call of a function that a .pdparams file may name."""

    def __init__(self, *call, state=None):
        self.call, self.state = call, state

    def __reduce__(self):
        return (*self.call, self.state) if self.state is not None else self.call


def test_parameters_that_repeat_their_data(tmp_path):
    import _codecs

    path, text = tmp_path / "x.pdparams", "x" * 5000
    path.write_bytes(pickle.dumps({f"{n}": Named(_codecs.encode, (text, "latin1")) for n in range(50)}, 2))
    with pytest.raises(UserError, match="repeats its data over and over"):
        read_pdparams(path)


def test_parameters_of_many_steps(tmp_path, monkeypatch):
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"weight": np.ones(3)}, 2))
    assert read_pdparams(path)["weight"].tolist() == [1, 1, 1]
    monkeypatch.setattr(pdparams, "MOST_STEPS", 10)
    with pytest.raises(UserError, match="over 10 steps"):
        read_pdparams(path)


def test_parameters_that_are_one_array_under_many_names(tmp_path):
    path, array = tmp_path / "x.pdparams", np.ones(1000, "float32")
    path.write_bytes(pickle.dumps({"weight": array, "tied": array}, 4))
    assert read_pdparams(path)["tied"].shape == (1000,)
    path.write_bytes(pickle.dumps({f"{n}": array for n in range(100)}, 4))
    with pytest.raises(UserError, match="much more than the file does"):
        read_pdparams(path)


def test_a_file_sets_nothing_on_what_reads_it(tmp_path):
    """A pickle may hand a state to what it names; here to the function that builds arrays."""
    path = tmp_path / "x.pdparams"
    # GLOBAL numpy dtype, then BUILD with {"doc": 1}
    path.write_bytes(b"\x80\x02cnumpy\ndtype\n}X\x03\x00\x00\x00docK\x01sb.")
    with pytest.raises(UserError, match="it changes what builds the arrays"):
        read_pdparams(path)
    assert not hasattr(pdparams._CALLS["numpy", "dtype"], "doc")


def test_a_pipe_in_the_place_of_a_weight(tmp_path):
    os.mkfifo(tmp_path / "weight")
    with pytest.raises(UserError, match=r"weight: no regular file"):
        read_header(tmp_path / "weight")
