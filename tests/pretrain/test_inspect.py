"""python -m pretrain.inspect: what the instances of a shard are."""

import gzip
import subprocess
import sys

import pytest

from pretrain import build_data, inspect
from propeller.errors import UserError
from tests.helpers.build_data import build
from tests.helpers.common import ROOT
from tests.helpers.pretrain_text import write_vocab


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return write_vocab(tmp_path_factory.mktemp("vocab") / "vocab.txt")


def test_inspect_shows_instances(tmp_path, vocab, capsys):
    (tmp_path / "a.txt").write_text("张三/nr 在/p 北京/ns 大学/n 。/w abc/nz 走/v\n", encoding="utf-8")
    build(tmp_path / "a.txt", tmp_path / "out", vocab, segmenter="pre-segmented", pairs="positive")
    capsys.readouterr()
    shard = str(tmp_path / "out" / "shards" / "a-00000.gz")
    inspect.main([shard, "--vocab_path", vocab])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "line 1: 15 tokens, next_sentence_label 1 (B follows A)"
    assert shown[1] == "  A  [CLS] 张·三 在 北·京 大·学 。 [SEP]"
    assert shown[2] == "  B  a·##b·##c 走 [SEP]"
    assert shown[3] == "  units  e:张·三  e:北·京  p:北·京·大·学  e:a·##b·##c"
    assert "‹" in shown[4]
    masks = set()
    for seed in range(12):
        inspect.main([shard, "--vocab_path", vocab, "--seed", str(seed), "--mask_draw", "unit"])
        line = capsys.readouterr().out.splitlines()[4]
        marked = ["‹" in piece for piece in line.split()[3:]]
        assert not any(marked[place] for place in (0, 9, -1))  # [CLS], [SEP]
        assert marked[1] == marked[2]
        assert marked[4] == marked[5]
        assert marked[10] == marked[11] == marked[12]
        masks.add(tuple(marked))
    assert len(masks) > 2


def test_of_one_text_it_says_nothing_about_pairs(tmp_path, vocab, capsys):
    (tmp_path / "a.txt").write_text("张三 在 北京 大学 。\n", encoding="utf-8")
    words = ["--segmenter", "pre-segmented", "--tasks", "whole_word_masking", "--vocab_path", vocab]
    build_data.main(["--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out"), *words])
    capsys.readouterr()
    inspect.main([str(tmp_path / "out/whole_word_masking/shards/a-00000.gz"), "--vocab_path", vocab])
    assert capsys.readouterr().out.splitlines()[0].strip() == "line 1: 10 tokens"


def test_a_filelist_stands_for_its_shards(tmp_path, vocab, capsys):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("张三 在 北京 大学 。\n我们 走 。\n", encoding="utf-8")
    build(tmp_path / "*.txt", tmp_path / "out", vocab, segmenter="pre-segmented", pairs="positive")
    capsys.readouterr()
    inspect.main([str(tmp_path / "out" / "filelist"), "--vocab_path", vocab])
    shown = capsys.readouterr().out
    shards = [str(tmp_path / "out" / "shards" / f"{name}-00000.gz") for name in "ab"]
    assert [line[:-1] for line in shown.splitlines() if line.endswith(".gz:")] == shards
    inspect.main([*shards, "--vocab_path", vocab])
    assert capsys.readouterr().out == shown
    (tmp_path / "note.txt").write_text("a note\n")
    with pytest.raises(UserError, match=r"note\.txt, line 1: 'a note' is no path<TAB>mask_word_prob"):
        inspect.main([str(tmp_path / "note.txt"), "--vocab_path", vocab])


def test_inspect_names_bad_lines(tmp_path, vocab, capsys):
    shard = tmp_path / "a.gz"
    good = "1 9 2 8 2;0 0 0 1 1;0 1 2 3 4;-1 0 -1 0 -1;1"
    for bad, message in (
        ("1 9 2;0 0 0;0 1 2;-1 0 -1", "4 fields"),
        ("1 9 2;0 0;0 1 2;-1 0 -1;1", "3 token_ids but 2 sentence_type_ids"),
        ("1 999 2;0 0 0;0 1 2;-1 0 -1;1", "token id 999"),
    ):
        shard.write_bytes(gzip.compress(f"{good}\n{bad}\n".encode()))
        with pytest.raises(UserError, match=f"a.gz, line 2: {message}"):
            inspect.main([str(shard), "--vocab_path", vocab])
        capsys.readouterr()
        inspect.main([str(shard), "--vocab_path", vocab, "--on_bad", "skip"])
        assert f"line 2: {message}" in capsys.readouterr().out
    shard.write_bytes(gzip.compress(f"{good}\n".encode() * 50)[:-9])
    with pytest.raises(UserError, match="the file is cut short"):
        inspect.main([str(shard), "--vocab_path", vocab, "--number", "0"])
    shard.write_bytes(gzip.compress(f"{good}\n".encode()))
    with pytest.raises(UserError, match="no line 9"):
        inspect.main([str(shard), "--vocab_path", vocab, "--start", "9"])


@pytest.mark.parametrize("lines", [2, 3000])  # what is printed fits the pipe, or not
def test_inspect_stops_quietly_where_its_reader_has_enough(tmp_path, vocab, lines):
    good = "1 9 2 8 2;0 0 0 1 1;0 1 2 3 4;-1 0 -1 0 -1;1"
    (tmp_path / "a.gz").write_bytes(gzip.compress(f"{good}\n".encode() * lines))
    words = [sys.executable, "-m", "pretrain.inspect", tmp_path / "a.gz", "--vocab_path", vocab, "--number", "0"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_several_shards_are_shown_one_after_the_other(tmp_path, vocab, capsys):
    """As a pattern names them, when the text is in several files."""
    good = "1 9 2 8 2;0 0 0 1 1;0 1 2 3 4;-1 0 -1 0 -1;1"
    shards = [tmp_path / "a.gz", tmp_path / "b.gz"]
    for shard in shards:
        shard.write_bytes(gzip.compress(f"{good}\n".encode() * 3))
    inspect.main([str(shards[0]), "--vocab_path", vocab, "--number", "1"])
    alone = capsys.readouterr().out
    assert alone.startswith("line 1: ")
    inspect.main([*map(str, shards), "--vocab_path", vocab, "--number", "1"])
    assert capsys.readouterr().out == f"{shards[0]}:\n{alone}{shards[1]}:\n{alone}"
