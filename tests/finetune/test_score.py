"""python -m finetune.score: the forms of file, the scores beside hand-made ones, and what is said of wrong files."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from seqeval.metrics import f1_score as seqeval_f1
from sklearn import metrics as sk

from finetune.score import ScoreArgs, kind_of, main, score_file
from propeller.errors import UserError
from tests.helpers.common import GOLDEN, ROOT
from tests.helpers.row_files import FORMS, write_as, write_lines
from tests.helpers.tiny import write_tsv

LABELS = [0, 1, 1, 0, 1, 0]
GUESSES = [0, 1, 0, 0, 1, 1]


@pytest.fixture
def write(tmp_path):
    return lambda name, *lines: write_lines(tmp_path / name, lines)


@pytest.fixture
def labelled(write):
    """A labelled TSV, its columns in an odd order."""
    return write("dev.tsv", "label\tqid\ttext_a", *(f"{label}\t{n // 3}\ttext {n}" for n, label in enumerate(LABELS)))


def scored(predictions, reference, **flags):
    return score_file(predictions, reference, ScoreArgs(**flags))


def run(*words):
    command = [sys.executable, "-m", "finetune.score", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# ---------------------------------------------------------------- classes


def forms():
    """name -> lines of the same predictions."""
    shares = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4], [0.45, 0.55], [0.35, 0.65]]
    numbered = list(enumerate(zip(GUESSES, shares)))
    return {
        "plain": [str(guess) for guess in GUESSES],
        "floats": [f"{guess:.1f}" for guess in GUESSES],
        "glue": ["index\tprediction", *(f"{n}\t{guess}" for n, (guess, _) in numbered)],
        "tsv": ["text_a\tlabel\tprob_0\tprob_1", *(f"text {n}\t{guess}\t{p}\t{q}" for n, (guess, (p, q)) in numbered)],
        "2019": [f"{float(guess)}\t[{p:.7g} {q:.7g}]" for guess, (p, q) in zip(GUESSES, shares)],
        "2019 with qid": [f"{n // 3}\t{float(guess)}\t[{p:.7g} {q:.7g}]" for n, (guess, (p, q)) in numbered],
        "probs": [f"{p}\t{q}" for p, q in shares],
        "jsonl": [
            json.dumps({"text_a": f"text {n}", "label": str(guess), "probabilities": {"0": p, "1": q}})
            for n, (guess, (p, q)) in numbered
        ],
    }


@pytest.mark.parametrize("name", forms())
def test_classes_in_every_form(write, labelled, name):
    scores, notes = scored(write("predictions", *forms()[name]), labelled)
    assert scores["task"] == "classify"
    assert scores["acc"] == pytest.approx(sk.accuracy_score(LABELS, GUESSES))
    assert (scores["f1"], scores["f1_average"]) == (pytest.approx(sk.f1_score(LABELS, GUESSES)), "binary")
    assert scores["matthews_corrcoef"] == pytest.approx(sk.matthews_corrcoef(LABELS, GUESSES))
    assert scores["rows"] == 6
    if name in ("plain", "floats", "glue"):
        assert notes == ["mrr and map are left out: the predictions have no probability of class 1"]
    else:
        assert notes == []
        assert scores["mrr"] == pytest.approx((1 + 0.5) / 2)  # question 1 ranks a wrong row first
        assert 0.5 < scores["map"] < 1


def test_words_with_and_without_a_label_map(write):
    reference = write("dev.tsv", "text_a\tlabel", "a\tneg", "b\tpos", "c\tpos")
    words = write("words", "neg", "pos", "neg")
    scores, notes = scored(words, reference)
    assert scores["acc"] == pytest.approx(2 / 3)
    assert "f1" not in scores
    assert "give --label_map_config" in notes[0]
    label_map = write("map.json", json.dumps({"pos": 1, "neg": 0}))
    for predictions in (words, write("numbers", "0", "1.0", "0")):
        scores, notes = scored(predictions, reference, label_map_config=label_map)
        assert (scores["f1"], notes) == (pytest.approx(2 / 3), [])
    with pytest.raises(UserError, match=r"numbers, line 1: the label '0' is a number, .*dev\.tsv has words"):
        scored(write("numbers", "0", "1.0", "0"), reference)
    with pytest.raises(UserError, match=r"wrong, line 2: the label 'neutral' is not in the label map"):
        scored(write("wrong", "neg", "neutral", "pos"), reference, label_map_config=label_map)


def test_more_than_two_classes_have_a_macro_f1(write):
    truth, guess = [0, 1, 2, 2], [0, 2, 2, 1]
    reference = write("dev.tsv", "text_a\tlabel", *(f"a\t{label}" for label in truth))
    scores, _ = scored(write("p", *guess), reference)
    assert scores["f1_average"] == "macro"
    assert scores["f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"))


def test_numbers(write):
    truth, guess = [0.5, 4.0, 3.25, 1.0], [1.0, 3.5, 3.0, 0.0]
    reference = write("dev.tsv", "text_a\ttext_b\tlabel", *(f"a\tb\t{label}" for label in truth))
    for lines in (
        [str(number) for number in guess],
        ["text_a\tscore", *(f"a\t{number}" for number in guess)],
        [f"{number}\t[{number}]" for number in guess],
        [json.dumps({"score": number}) for number in guess],
    ):
        scores, _ = scored(write("p", *lines), reference)
        assert scores["task"] == "regression"
        assert scores["pearson"] == pytest.approx(stats.pearsonr(truth, guess)[0])
        assert scores["spearmanr"] == pytest.approx(stats.spearmanr(truth, guess)[0])
    with pytest.raises(UserError, match="p, line 2: 'good' is no number"):
        scored(write("p", "1", "good", "2", "3"), reference)


def test_the_largest_class_number_takes_no_memory(write):
    reference = write("dev.tsv", "text_a\tlabel", "a\t0", "b\t999999999999", "c\t3")
    scores, _ = scored(write("p", "0", "999999999999", "7"), reference)
    assert scores["acc"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(0.5)  # 1, 1, 0, 0


def test_macro_f1_counts_the_classes_of_the_label_map_as_training_does(write):
    label_map = write("map.json", json.dumps({"a": 0, "b": 1, "c": 2}))
    reference = write("dev.tsv", "text_a\tlabel", "x\ta", "y\tb")
    scores, _ = scored(write("p", "a", "b"), reference, label_map_config=label_map)
    assert (scores["acc"], scores["f1"]) == (1, pytest.approx(2 / 3))


def test_what_the_2019_code_wrote(write):
    lines = (GOLDEN / "6_cli" / "out" / "cls_test.1.12").read_text().splitlines()
    reference = write("dev.tsv", "text_a\tlabel", *(f"a\t{n % 2}" for n in range(len(lines))))
    scores, _ = scored(str(GOLDEN / "6_cli" / "out" / "cls_test.1.12"), reference)
    guesses = [int(line[0]) for line in lines]
    assert scores["acc"] == pytest.approx(np.mean([guess == n % 2 for n, guess in enumerate(guesses)]))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0"] * 5, r"p has 5 rows, .*dev\.tsv has 6; the first without a counterpart is .*dev\.tsv, line 7"),
        (["0"] * 7, r"p has 7 rows, .*dev\.tsv has 6; the first without a counterpart is .*p, line 7"),
        (["0", "", "0", "0", "0", "0"], "p, line 2: no form of prediction"),
        (["0", "a\tb", "0", "0", "0", "0"], "p, line 2: no form of prediction"),
        (["0", "good", "0", "0", "0", "0"], "p, line 2: the label 'good' is a word, the other file has numbers"),
        (["label\tx", *["0\t1"] * 4, "0"], "p, line 6: 1 fields, the header has 2"),
        (["label\tlabel", "0\t0"], "p, line 1: the column 'label' is there twice"),
        (["label"], "p, line 1: there is a header but no row"),
        (['{"label": 0}', "{"], "p, line 2: not JSON"),
        (['{"label": 0}', "[]"], "p, line 2: no JSON object"),
        (['{"text": 0}'], "p, line 1: no label"),
        (["0.5\t[0.5 x]"], "p, line 1: 'x' is no number"),
        (["text_a\tlabel", *["text 0\t1"] * 6], r"p, line 3: text_a is 'text 0', but 'text 1' at .*dev\.tsv, line 3"),
        ([], "p: the file is empty"),
    ],
)
def test_wrong_predictions_of_classes(write, labelled, lines, message):
    with pytest.raises(UserError, match=message) as error:
        scored(write("p", *lines), labelled)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text(write, labelled, tmp_path):
    (tmp_path / "p").write_bytes(b"0\n\xff\n")
    with pytest.raises(UserError, match="p, line 2: byte 1 of the line .* is not UTF-8"):
        scored(str(tmp_path / "p"), labelled)
    with pytest.raises(UserError, match="nothing: cannot be read"):
        scored(str(tmp_path / "nothing"), labelled)


# ---------------------------------------------------------------- tags

TOKENS = [["海", "钓", "在", "厦门"], ["李", "明", "来"]]
TRUTH = [["O", "O", "O", "B-LOC"], ["B-PER", "I-PER", "O"]]
GUESS = [["O", "O", "O", "B-LOC"], ["B-PER", "O", "O"]]


def tagged(kind, tags):
    pairs = list(zip(TOKENS, tags))
    if kind == "conll":
        return [line for tokens, row in pairs for line in [*map(" ".join, zip(tokens, row)), ""]]
    if kind == "conll with more columns":
        return [
            "-DOCSTART- -X- O",
            "",
            *(x for t, r in pairs for x in [*("\t".join((a, "NN", b)) for a, b in zip(t, r)), ""]),
        ]
    if kind == "jsonl":
        return [json.dumps({"tokens": tokens, "tags": row}) for tokens, row in pairs]
    joined = [("\x02".join(tokens), "\x02".join(row)) for tokens, row in pairs]
    if kind == "blanks":
        joined = [(" ".join(tokens), " ".join(row)) for tokens, row in pairs]
    if kind == "2019":
        return [f"{text}\t{row}\t{row}\t[]" for text, row in joined]
    header = "text_a\tlabel" if kind != "tsv" else "text_a\ttags\tentities"
    more = "" if kind != "tsv" else "\t[]"
    return [header, *(f"{text}\t{row}{more}" for text, row in joined)]


KINDS = ("conll", "conll with more columns", "jsonl", "blanks", "2019", "tsv", "label")


@pytest.mark.parametrize("kind", KINDS)
def test_tags_in_every_form(write, kind):
    for reference in ("label", "conll", "jsonl"):
        path = write("reference", *tagged(reference, TRUTH))
        assert kind_of(path) == "sequence_label"
        scores, notes = scored(write("p", *tagged(kind, GUESS)), path)
        assert scores["f1"] == pytest.approx(seqeval_f1(TRUTH, GUESS))
        assert (scores["precision"], scores["recall"], scores["entities"], scores["sentences"]) == (0.5, 0.5, 2, 2)
        assert scores["tag_acc"] == pytest.approx(6 / 7)
        assert notes == []


@pytest.mark.parametrize(
    ("lines", "message", "flags"),
    [
        (tagged("conll", GUESS[:1]), "p has 1 rows, .*reference has 2; the first .*reference, line 3", {}),
        (tagged("label", [GUESS[0][:3], GUESS[1]]), "p, line 2: 4 tokens and 3 tags", {}),
        ([*tagged("conll", GUESS)[:6], "来"], "p, line 7: '来' is no token with a tag", {}),
        (["text_a\tentities", "a\t[]"], "p, line 1: no column of tags", {}),
        (['{"tokens": ["a"], "tags": "O"}'], "p, line 1: 'tokens' and 'tags' are not lists", {}),
        ([*tagged("2019", GUESS)[:1], "a\tO"], "p, line 2: not text, tags, probabilities, entities", {}),
        (tagged("label", [GUESS[0], ["S-PER", "O", "O"]]), "p, line 3: .*'S-PER' is not a tag of the chunk scheme", {}),
        (tagged("label", [GUESS[0], ["B-ORG", "O", "O"]]), "p, line 3: the tag 'B-ORG' is not in the label map",
         {"label_map_config": "{map}"}),
        (tagged("conll", GUESS)[:3] + ["北京 B-LOC", "", "李 O", "明 O", "来 O"], "p, line 1: other tokens", {}),
    ],
)  # fmt: skip
def test_wrong_tags(write, lines, message, flags):
    label_map = write("map.json", json.dumps({"O": 0, "B-LOC": 1, "B-PER": 2, "I-PER": 3, "I-LOC": 4}))
    flags = {name: value.format(map=label_map) for name, value in flags.items()}
    with pytest.raises(UserError, match=message):
        scored(write("p", *lines), write("reference", *tagged("label", TRUTH)), **flags)


# ---------------------------------------------------------------- answers


# ---------------------------------------------------------------- the command


def test_the_command(write, labelled, capsys):
    done = run(write("p", *GUESSES), labelled)
    assert done.returncode == 0
    assert json.loads(done.stdout)["acc"] == pytest.approx(4 / 6)
    assert done.stderr == "note: mrr and map are left out: the predictions have no probability of class 1\n"
    assert main([write("p", *forms()["probs"]), labelled, "--task", "classify"]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "classify"


def test_an_error_is_one_line_and_status_2(write, labelled):
    path = write("p", "0", "x\ty")
    done = run(path, labelled)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {path}, line 2: ") or "rows" in done.stderr


def test_a_reference_that_is_none_is_named(write):
    reference = write("reference", "word", "word")
    with pytest.raises(UserError, match="reference, line 1: neither SQuAD JSON, nor a header with 'label'"):
        scored(write("p", "0"), reference)


def test_a_table_whose_label_has_another_name_is_named(tmp_path):
    """Not taken for tokens with tags, whose message would name the predictions."""
    reference, predictions = tmp_path / "visits.csv", tmp_path / "p.tsv"
    reference.write_text("id,remark,mood\n1,good food,happy\n2,cold soup,unhappy\n", encoding="utf8")
    predictions.write_text("text_a\tlabel\ngood food\thappy\ncold soup\thappy\n", encoding="utf8")
    with pytest.raises(UserError, match=r"visits\.csv, line \d: column 'label' is missing \(there: id, remark, mood\)"):
        scored(predictions, reference)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("data/SST-2/dev.tsv", "classify"),
        ("data/RTE/dev.tsv", "classify"),
        ("data/STS-B/dev.tsv", "regression"),
        ("data/xnli/dev.tsv", "classify"),
        ("data/msra_ner/dev.tsv", "sequence_label"),
        ("data/msra_ner/dev_blank.tsv", "sequence_label"),
        ("data/cmrc2018/dev.json", "mrc"),
        ("data/squad/dev.json", "mrc"),
    ],
)
def test_the_samples_are_told_apart_and_score_themselves(path, kind):
    reference = str(ROOT / path)
    assert kind_of(reference) == kind
    if kind != "mrc":
        scores, _ = scored(reference, reference)
        assert max(scores.get(name, 0) for name in ("acc", "f1", "corr")) == pytest.approx(1)


# ---------------------------------------------------------------- forms of tables


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", ["tsv", "jsonl"])
def test_every_form_of_table_scores_alike(form, other, tmp_path):
    """Labelled files and predictions; texts with commas, quotes, and a tab that a prediction file has as a blank."""
    texts = ["plain", "a, b", 'say "yes"', "one\ttwo" if form != "tsv" else "one two", "五", "six"]
    reference = write_as(tmp_path / f"dev.{form}", list(zip(map(str, LABELS), texts)))
    rows = [(str(guess), text.replace("\t", " ")) for guess, text in zip(GUESSES, texts)]
    predictions = write_as(tmp_path / f"p.{other}", rows)
    scores, _ = scored(predictions, reference)
    assert scores["task"] == "classify"
    assert scores["acc"] == pytest.approx(sk.accuracy_score(LABELS, GUESSES))
    again, _ = scored(write_as(tmp_path / f"p.{form}", rows), write_tsv(tmp_path / "dev.tsv", rows))
    assert again["acc"] == 1.0


@pytest.mark.parametrize("form", FORMS)
def test_label_sets_and_tags_in_every_form(form, tmp_path):
    sets = [("a,b", "one"), ("b", "two")] if form == "csv" else [(["a", "b"], "one"), (["b"], "two")]
    path = write_as(tmp_path / f"sets.{form}", sets)
    plain = write_tsv(tmp_path / "sets.tsv", [("a,b", "one"), ("a", "two")])
    scores, _ = scored(plain, path, task="multi_label_classification")
    assert scores["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    tags = [("B-A O", "x y"), ("O B-A", "y x")]
    if form != "csv":
        tags = [(labels.split(), text.split()) for labels, text in tags]
    path = write_as(tmp_path / f"tags.{form}", tags)
    scores, _ = scored(write_tsv(tmp_path / "tags.tsv", [("B-A O", "x y"), ("O O", "y x")]), path)
    assert (scores["task"], scores["recall"]) == ("sequence_label", 0.5)


def test_a_table_that_cannot_be_read(write, labelled):
    for name, lines, message in (
        ("p.csv", ["text_a,label", "a"], r"p\.csv, line 2: 1 fields, the header has 2"),
        ("p.csv", ["text_a,label", 'a,"b"c'], r"p\.csv, line 2: .*correct its quotes"),
        ("p.json", ["[{"], r"p\.json: no JSON"),
        ("p.parquet", ["no"], r"p\.parquet: is not a Parquet file"),
    ):
        with pytest.raises(UserError, match=message):
            scored(write(name, *lines), labelled)
