"""finetune.split: parts of a file by seed, each label with its share, no text in two parts, in the form of the file."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.split import Rows, SplitArgs, assign, main, split_file
from propeller.errors import UserError
from reader.tables.form import TableForm
from reader.tables.opening import open_table
from tests.helpers.row_files import FORMS, write_as

PLAIN = [(f"id{n}", ("bad", "good", "fine")[n % 10 // 4], f"text, {n % 170}") for n in range(200)]
NAMES = {"text_column": "review", "label_column": "stars"}
FORM = TableForm(text_a="review", label="stars")


def rows_of(path):
    table = open_table(path, ("text_a", "label"), form=FORM)
    return [tuple(table.layout.fields(record)) for _, record in table.records()]


@pytest.mark.parametrize("form", ["tsv", *FORMS])
def test_parts_in_the_form_of_the_file(tmp_path, form):
    path = write_as(tmp_path / f"rows.{form}", PLAIN, ("id", "stars", "review"))
    made = split_file(path, SplitArgs(dev=30, test=0.1, seed=1, **NAMES))
    assert list(made.values()) == [tmp_path / "rows" / f"{name}.{form}" for name in ("train", "dev", "test")]
    parts = {name: rows_of(made[name]) for name in made}
    every = [(label, text) for _, label, text in PLAIN]
    assert Counter(sum(parts.values(), [])) == Counter(every), "every row once"
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not {text for _, text in parts[one]} & {text for _, text in parts[other]}
    for name in made:
        table = open_table(made[name], form=TableForm(text_a="id"))
        numbers = [int(table.layout.fields(record)[0][2:]) for _, record in table.records()]
        assert numbers == sorted(numbers), "in the file's order, and all columns are there"


def test_the_parts_depend_on_the_seed_alone(tmp_path):
    texts = {}
    for form in ("csv", "jsonl"):
        path = write_as(tmp_path / f"rows.{form}", PLAIN, ("id", "stars", "review"))
        for seed in (1, 2):
            made = split_file(path, SplitArgs(seed=seed, output_dir=str(tmp_path / f"{form}{seed}"), **NAMES))
            texts[form, seed] = rows_of(made["test"])
    assert texts["csv", 1] == texts["jsonl", 1] != texts["csv", 2]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=12, max_size=120), st.integers(0, 5))
def test_shares_of_labels_and_texts_apart(pairs, seed):
    groups = np.unique([text for text, _ in pairs], return_inverse=True)[1]
    labels = np.array([label for _, label in pairs])
    parts = assign(Rows(groups, labels, list("abcd")), [3, 4], seed)
    for number in set(groups.tolist()):
        assert len(set(parts[groups == number].tolist())) == 1, "rows of one text are together"
    first = {group: labels[groups == group][0] for group in set(groups.tolist())}
    own = np.array([first[group] for group in groups.tolist()])
    for number, size in ((1, 3), (2, 4)):
        assert (parts == number).sum() <= size
        for label in range(4):
            exact = (own == label).sum() * size / len(pairs)
            assert (own[parts == number] == label).sum() <= np.ceil(exact)
    for label in set(own.tolist()):
        assert (own[parts == 0] == label).any(), "each label is trained on"


def test_without_doubles_the_shares_are_exact(tmp_path):
    rows = [("good" if n % 4 else "bad", f"text {n}") for n in range(400)]
    path = write_as(tmp_path / "rows.jsonl", rows)
    made = split_file(path, SplitArgs())
    counts = {name: Counter(json.loads(line)["label"] for line in made[name].read_text().splitlines()) for name in made}
    assert counts == {
        "train": {"good": 240, "bad": 80},
        "dev": {"good": 30, "bad": 10},
        "test": {"good": 30, "bad": 10},
    }
    apart = split_file(path, SplitArgs(stratify=False, overwrite=True, test=0))
    assert sorted(apart) == ["dev", "train"]
    assert len(apart["dev"].read_text().splitlines()) == 40


def test_rows_with_a_label_each_are_drawn_too(tmp_path):
    """Sentences with their tags: the dev set is not the beginning of the file."""
    path = write_as(tmp_path / "rows.jsonl", [([f"t{n}"] * n, ["O"] * n) for n in range(1, 60)], ("text_a", "label"))
    made = split_file(path, SplitArgs(test=0))
    lengths = [len(json.loads(line)["text_a"]) for line in made["dev"].read_text().splitlines()]
    assert len(lengths) == 6
    assert max(lengths) > 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dev", "0.5", "--test", "0.5"], "take 10 of 10 rows"),
        (["--dev", "2.5"], "a share below 1, or a whole number"),
        (["--dev", "-1"], "--dev must be 0 or more"),
        (["--dev", "1", "--test", "1", "--text_column", "same"], "too few of the 10 rows: they have 1 text in all"),
        (["--output_dir", "DIR"], r"train.csv: exists already; give another --output_dir, or --overwrite"),
        (["--seed", "-1"], "--seed must be from 0"),
        (["--text_column", "none"], "no column 'none'"),
    ],
    ids=["all", "fraction", "negative", "one text", "there", "seed", "column"],
)
def test_what_cannot_be_split(tmp_path, words, said):
    rows = [(f"text {n}", "x", n % 2) for n in range(10)]
    path = write_as(tmp_path / "rows.csv", rows, ("text_a", "same", "label"))
    (tmp_path / "train.csv").write_text("")
    given = ["--text_column", "text_a", *words]
    with pytest.raises(UserError, match=said):
        main([path, *(str(tmp_path) if word == "DIR" else word for word in given)])


def test_rows_of_few_texts_need_a_larger_part(tmp_path):
    path = write_as(tmp_path / "rows.csv", [(f"text {n % 4}", n % 2) for n in range(40)], ("text_a", "label"))
    with pytest.raises(UserError) as caught:
        split_file(str(path), SplitArgs())
    assert str(caught.value) == (
        "--dev 0.1: too few of the 40 rows: they have 4 texts in all, and rows of one text stay together; give a "
        "larger --dev, or rows with other texts"
    )
    parts = split_file(str(path), SplitArgs(dev=20, test=0, output_dir=str(tmp_path / "parts")))
    assert {name: len(part.read_text().splitlines()) - 1 for name, part in parts.items()} == {"train": 20, "dev": 20}


def test_a_small_file_in_which_each_row_has_a_label_of_its_own(tmp_path):
    """As two tagged sentences: the remedy that the message names works."""
    path = tmp_path / "rows.tsv"
    path.write_text("text_a\tlabel\nhe left\tO O\nAnna left\tB-PER O\n", encoding="utf8")
    with pytest.raises(UserError, match=r"too few of the 2 rows, of which one of each label .*--stratify false"):
        split_file(str(path), SplitArgs(dev=0, test=1))
    assert sorted(split_file(str(path), SplitArgs(dev=0, test=1, stratify=False))) == ["test", "train"]


def test_a_bad_row_has_its_line(tmp_path):
    (tmp_path / "rows.csv").write_text("text_a,label\na,1\nb\n")
    with pytest.raises(UserError, match="rows.csv, line 3: 1 fields where the header has 2"):
        main([str(tmp_path / "rows.csv")])


def test_questions_with_options_are_split_as_they_stand(tmp_path):
    """Their column is known, and stays."""
    rows = [{"text_a": f"text {number}", "choices": ["a", "b"], "label": number % 2} for number in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([str(path)]) == 0
    parts = [line for name in ("train", "dev", "test")
             for line in (tmp_path / "rows" / f"{name}.jsonl").read_text().splitlines()]  # fmt: skip
    assert sorted(map(json.loads, parts), key=lambda row: int(row["text_a"][5:])) == rows
