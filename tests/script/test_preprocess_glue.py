"""script/en_glue/preprocess/cvt.sh on rows in the layout of GLUE's download, and on the download itself where it is."""

import sys

import numpy as np
import pytest

from reader.task_reader import TaskReader
from reader.tsv import TsvFile
from script.glue_tasks import LABELS, LEADERBOARD
from tests.helpers.common import SHARED
from tests.helpers.shell import SCRIPT, clean_environment, shell

PARSES = ["(a)", "(b)", "(p)", "(q)"]  # the parse columns of MNLI
MNLI_HEADER = [
    *("index", "promptID", "pairID", "genre", "sentence1_binary_parse", "sentence2_binary_parse"),
    *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2"),
]
STS_HEADER = ["index", "genre", "filename", "year", "old_index", "source1", "source2", "sentence1", "sentence2"]


def mnli(index, first, second, *labels):
    return [str(index), "31193", "31193n", "government", *PARSES, first, second, *labels]


def sts(index, first, second, *score):
    return [str(index), "main-captions", "MSRvid", "2012test", "0001", "none", "none", first, second, *score]


MRPC_HEADER = ["#1 ID", "#2 ID", "#1 String", "#2 String"]
RAW = {
    "CoLA/train.tsv": [["gj04", "1", "", 'He said "no.'], ["gj04", "0", "*", "The more the"]],
    "CoLA/dev.tsv": [["gj04", "1", "", "Fine."]],
    "CoLA/test.tsv": [["index", "sentence"], ["0", "Bill left."], ["1", 'A "quote']],
    "SST-2/train.tsv": [["sentence", "label"], ["hide new secretions ", "0"], ['"good" film', "1"]],
    "SST-2/dev.tsv": [["sentence", "label"], ["fine", "1"]],
    "SST-2/test.tsv": [["index", "sentence"], ["0", "uneasy"]],
    "MRPC/train.tsv": [["\ufeffQuality", *MRPC_HEADER], ["1", "7", "8", '"He', 'said" so']],
    "MRPC/dev.tsv": [["\ufeffQuality", *MRPC_HEADER], ["0", "7", "8", "one", "two"]],
    "MRPC/test.tsv": [["\ufeffindex", *MRPC_HEADER], ["0", "7", "8", "one", "two"]],
    "STS-B/train.tsv": [[*STS_HEADER, "score"], sts(0, "A plane.", "An air plane.", "5.000"), sts(1, "a", "b", "2.75")],
    "STS-B/dev.tsv": [[*STS_HEADER, "score"], sts(0, "a", "b", "0.0")],
    "STS-B/test.tsv": [STS_HEADER, sts(0, "A girl.", "A boy.")],
    "QQP/train.tsv": [
        ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
        ["133273", "213221", "213222", "How?", 'Why "so"?', "0"],
        ["9", "8", "7", "What?"],
        ["402555", "536040", "536041", "Who?", "Who is it?", "1"],
    ],
    "QQP/dev.tsv": [["id", "qid1", "qid2", "question1", "question2", "is_duplicate"], ["1", "2", "3", "a", "", "1"]],
    "QQP/test.tsv": [["id", "question1", "question2"], ["0", "a?", "b?"], ["1", "", "b?"]],
    "MNLI/train.tsv": [
        [*MNLI_HEADER, "label1", "gold_label"],
        mnli(0, "Conceptually", "Product", "neutral", "neutral"),
        mnli(1, "you know", "You lose", "entailment", "entailment"),
        mnli(2, "a", "b", "x", "-"),
    ],
    "MNLI/dev_matched.tsv": [
        [*MNLI_HEADER, "label1", "label2", "label3", "label4", "label5", "gold_label"],
        mnli(0, "The new", "Everyone", "neutral", "neutral", "neutral", "neutral", "neutral", "contradiction"),
    ],
    "MNLI/dev_mismatched.tsv": [
        [*MNLI_HEADER, "label1", "label2", "label3", "label4", "label5", "gold_label"],
        mnli(0, "Your", "My", "neutral", "neutral", "neutral", "neutral", "neutral", "entailment"),
    ],
    "MNLI/test_matched.tsv": [MNLI_HEADER, mnli(0, "Hint", "m")],
    "MNLI/test_mismatched.tsv": [MNLI_HEADER, mnli(0, "Hint", "mm")],
    "QNLI/train.tsv": [["index", "question", "sentence", "label"], ["0", "When?", 'In "1".', "not_entailment"]],
    "QNLI/dev.tsv": [["index", "question", "sentence", "label"], ["0", "q", "s", "entailment"]],
    "QNLI/test.tsv": [["index", "question", "sentence"], ["0", "q", "s"]],
    "RTE/train.tsv": [["index", "sentence1", "sentence2", "label"], ["0", "No", "Yes", "not_entailment"]],
    "RTE/dev.tsv": [["index", "sentence1", "sentence2", "label"], ["0", "a", "b", "entailment"]],
    "RTE/test.tsv": [["index", "sentence1", "sentence2"], ["0", "a", "b"]],
    "WNLI/train.tsv": [["index", "sentence1", "sentence2", "label"], ["0", "I stuck", "The carrot", "1"]],
    "WNLI/dev.tsv": [["index", "sentence1", "sentence2", "label"], ["0", "a", "b", "0"]],
    "WNLI/test.tsv": [["index", "sentence1", "sentence2"], ["0", "a", "b"]],
    "diagnostic/diagnostic.tsv": [["index", "sentence1", "sentence2"], ["0", "The cat", "The mat"]],
}
WANTED = {
    "CoLA/train.tsv": ["text_a\tlabel", 'He said "no.\t1', "The more the\t0"],
    "CoLA/dev.tsv": ["text_a\tlabel", "Fine.\t1"],
    "CoLA/test.tsv": ["qid\ttext_a", "0\tBill left.", '1\tA "quote'],
    "SST-2/train.tsv": ["text_a\tlabel", "hide new secretions \t0", '"good" film\t1'],
    "SST-2/dev.tsv": ["text_a\tlabel", "fine\t1"],
    "SST-2/test.tsv": ["qid\ttext_a", "0\tuneasy"],
    "MRPC/train.tsv": ["text_a\ttext_b\tlabel", '"He\tsaid" so\t1'],
    "MRPC/dev.tsv": ["text_a\ttext_b\tlabel", "one\ttwo\t0"],
    "MRPC/test.tsv": ["qid\ttext_a\ttext_b", "0\tone\ttwo"],
    "STS-B/train.tsv": ["text_a\ttext_b\tlabel", "A plane.\tAn air plane.\t5.000", "a\tb\t2.75"],
    "STS-B/dev.tsv": ["text_a\ttext_b\tlabel", "a\tb\t0.0"],
    "STS-B/test.tsv": ["qid\ttext_a\ttext_b", "0\tA girl.\tA boy."],
    "QQP/train.tsv": ["text_a\ttext_b\tlabel", 'How?\tWhy "so"?\t0', "Who?\tWho is it?\t1"],
    "QQP/dev.tsv": ["text_a\ttext_b\tlabel", "a\t\t1"],
    "QQP/test.tsv": ["qid\ttext_a\ttext_b", "0\ta?\tb?", "1\t\tb?"],
    "MNLI/train.tsv": ["text_a\ttext_b\tlabel", "Conceptually\tProduct\t1", "you know\tYou lose\t2"],
    "MNLI/m/dev.tsv": ["text_a\ttext_b\tlabel", "The new\tEveryone\t0"],
    "MNLI/mm/dev.tsv": ["text_a\ttext_b\tlabel", "Your\tMy\t2"],
    "MNLI/m/test.tsv": ["qid\ttext_a\ttext_b", "0\tHint\tm"],
    "MNLI/mm/test.tsv": ["qid\ttext_a\ttext_b", "0\tHint\tmm"],
    "MNLI/diagnostic.tsv": ["qid\ttext_a\ttext_b", "0\tThe cat\tThe mat"],
    "QNLI/train.tsv": ["text_a\ttext_b\tlabel", 'When?\tIn "1".\t0'],
    "QNLI/dev.tsv": ["text_a\ttext_b\tlabel", "q\ts\t1"],
    "QNLI/test.tsv": ["qid\ttext_a\ttext_b", "0\tq\ts"],
    "RTE/train.tsv": ["text_a\ttext_b\tlabel", "No\tYes\t0"],
    "RTE/dev.tsv": ["text_a\ttext_b\tlabel", "a\tb\t1"],
    "RTE/test.tsv": ["qid\ttext_a\ttext_b", "0\ta\tb"],
    "WNLI/train.tsv": ["text_a\ttext_b\tlabel", "I stuck\tThe carrot\t1"],
    "WNLI/dev.tsv": ["text_a\ttext_b\tlabel", "a\tb\t0"],
    "WNLI/test.tsv": ["qid\ttext_a\ttext_b", "0\ta\tb"],
}


def cvt(*arguments, cwd):
    command = ["sh", str(SCRIPT / "en_glue/preprocess/cvt.sh"), *map(str, arguments)]
    return shell(command, cwd=cwd, env=clean_environment(PYTHON=sys.executable))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    for name, rows in RAW.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_every_file_of_the_download(raw, tmp_path):
    done = cvt(raw, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "glue_data_processed"
    made = {str(path.relative_to(out)): path.read_text().splitlines() for path in out.rglob("*.tsv")}
    assert made == WANTED
    train = raw / "QQP/train.tsv"
    assert f"{train}: 3 rows in, 2 rows out, 1 refused -> glue_data_processed/QQP/train.tsv" in done.stdout
    assert "    refused: 1 x 4 fields where the header has 6 (first: line 3)" in done.stdout
    assert "    refused: 1 x unknown label '-' (first: line 4)" in done.stdout
    assert done.stdout.count("refused:") == 2
    for path in out.rglob("*.tsv"):
        columns = TsvFile(path).columns
        assert ("label" in columns) == (path.stem in ("train", "dev"))


def test_test_sets_are_converted_whole_or_not_at_all(raw, tmp_path):
    path = raw / "RTE/test.tsv"
    path.write_text(path.read_text() + "1\tno second text\n")
    done = cvt(raw, tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: {path}: 1 row refused, and a test set needs all"
    assert not (tmp_path / "out/RTE/test.tsv").exists()
    assert (tmp_path / "out/WNLI/test.tsv").exists()


def test_a_file_that_is_not_the_download_is_named(raw, tmp_path):
    path = raw / "STS-B/dev.tsv"
    path.write_text("text_a\ttext_b\tlabel\na\tb\t1\n")
    done = cvt(raw, cwd=tmp_path)
    assert done.returncode == 2
    assert f"error: {path}, line 1: no column 'sentence1'" in done.stderr


def test_what_is_not_there_is_left_out_and_said(tmp_path):
    (tmp_path / "raw/RTE").mkdir(parents=True)
    (tmp_path / "raw/RTE/dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\r\n0\ta\tb\tentailment\r\n")
    done = cvt("raw", cwd=tmp_path)
    assert done.returncode == 0
    assert "raw/CoLA/train.tsv: not there, left out" in done.stdout
    assert (tmp_path / "glue_data_processed/RTE/dev.tsv").read_text() == "text_a\ttext_b\tlabel\na\tb\t1\n"
    assert cvt(tmp_path / "nowhere", cwd=tmp_path).returncode == 2
    (tmp_path / "empty").mkdir()
    assert "none of the files is there" in cvt("empty", cwd=tmp_path).stderr
    assert "usage:" in cvt(cwd=tmp_path).stderr


@pytest.mark.beside("data/glue")
def test_the_download_itself(tmp_path):
    raw = SHARED / "data" / "glue"
    done = cvt(raw, tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ", 0 refused" in done.stdout
    assert "    refused" not in done.stdout
    for name, files in LEADERBOARD.items():
        if not (raw / name).is_dir():
            continue
        header = 0 if name == "CoLA" else 1
        for split in ("train", "dev"):
            if (raw / name / f"{split}.tsv").is_file():
                lines = (raw / name / f"{split}.tsv").read_bytes().count(b"\n")
                assert TsvFile(tmp_path / name / f"{split}.tsv").num_rows == lines - header
        assert TsvFile(tmp_path / name / "test.tsv").num_rows == files[0][2], "as many as the leaderboard wants"
    # Field by field for one of them, by another way of reading.
    original = [line.split("\t") for line in (raw / "RTE/train.tsv").read_text(encoding="utf-8").split("\n")[1:-1]]
    ours = [line.split("\t") for line in (tmp_path / "RTE/train.tsv").read_text(encoding="utf-8").split("\n")[1:-1]]
    assert ours == [[a, b, str(LABELS["RTE"].index(label))] for _, a, b, label in original]


class _Words:
    """A tokenizer for the reader, a word a number."""

    pad_id, cls_id, sep_id, fingerprint = 0, 1, 2, "words"

    def encode_batch(self, texts):
        return [[3 + len(word) for word in text.split()] for text in texts]


def test_the_readers_take_what_was_made(raw, tmp_path):
    assert cvt(raw, tmp_path / "out", cwd=tmp_path).returncode == 0
    for name, kind in (("STS-B", "float"), ("MNLI", "class")):
        reader = TaskReader(tmp_path / f"out/{name}/train.tsv", _Words(), max_seq_len=32, batch_size=4, label_kind=kind)
        ((batch, _),) = reader.batches()
        wanted = [[5.0], [2.75]] if kind == "float" else [[1], [2]]
        np.testing.assert_array_equal(batch["labels"], wanted)
    reader = TaskReader(tmp_path / "out/QQP/test.tsv", _Words(), max_seq_len=32, batch_size=4, label_kind=None)
    ((batch, _),) = reader.batches()
    np.testing.assert_array_equal(batch["qids"], [[0], [1]])
