"""The flags that an error about columns names: they read the file; where its names do not tell, none are named."""

import csv
import shlex

import pytest

from propeller.errors import UserError
from reader.tables.form import COPY, KNOWN_COLUMNS, TableForm
from reader.tables.opening import open_table
from reader.tables.usual_names import OURS, proposal

TASK, PREDICTION = ("text_a", "label"), ("text_a",)
FOUND = {
    "text,label": ("--text_column text", ["text_a", "label"]),
    "id,text,label": ("--text_column text", ["text_a", "label"]),
    "idx,sentence,label": ("--text_column sentence", ["text_a", "label"]),
    "Review,Sentiment": ("--text_column Review --label_column Sentiment", ["text_a", "label"]),
    "label,review": ("--text_column review", ["label", "text_a"]),
    "text_a,stars": ("--label_column stars", ["text_a", "label"]),
    "id,text_a,label": ("--text_column text_a", ["text_a", "label"]),
    ",text,label": ("--text_column text", ["text_a", "label"]),
    "idx,sentence1,sentence2,label": (
        "--text_column sentence1 --text_pair_column sentence2", ["text_a", "text_b", "label"],
    ),
    "premise,hypothesis,label": ("--text_column premise --text_pair_column hypothesis", ["text_a", "text_b", "label"]),
    "text_a,text_b,gold,label": ("--text_column text_a", ["text_a", "text_b", "label"]),
    "内容,标签": ("--text_column '内容' --label_column '标签'", ["text_a", "label"]),
    "tokens,ner_tags": ("--text_column tokens --label_column ner_tags", ["text_a", "label"]),
}  # fmt: skip


def form_of(flags, **more):
    words = shlex.split(flags)
    return TableForm(**{OURS[flag]: name for flag, name in zip(words[::2], words[1::2])}, **more)


def write(path, names):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, [f"field {number}" for number in range(len(names))]])
    return path


@pytest.mark.parametrize("header", FOUND)
def test_the_flags_of_the_error_read_the_file(tmp_path, header):
    flags, columns = FOUND[header]
    path = write(tmp_path / "a.csv", header.split(","))
    with pytest.raises(UserError) as caught:
        open_table(path, TASK, KNOWN_COLUMNS, TableForm())
    assert str(caught.value).endswith((f"name the columns that count: {flags}", f"or name it with {flags}"))
    assert list(open_table(path, TASK, KNOWN_COLUMNS, form_of(flags)).columns) == columns


@pytest.mark.parametrize("header", ["a,b", "id,value,label", "text,text,label", "review,place"])
def test_nothing_is_proposed_where_the_names_do_not_tell(tmp_path, header):
    with pytest.raises(UserError, match=r"columns that count \(--text_column, --label_column\)"):
        open_table(write(tmp_path / "a.csv", header.split(",")), TASK, KNOWN_COLUMNS, TableForm())


def test_prediction_and_a_half_named_file(tmp_path):
    path = write(tmp_path / "a.csv", ["id", "text"])
    with pytest.raises(UserError, match="add it, or name it with --text_column text$"):
        open_table(path, PREDICTION, KNOWN_COLUMNS, TableForm(others=COPY))
    path = write(tmp_path / "b.csv", ["place", "stars"])
    with pytest.raises(UserError, match="'label' is missing .*; add it, or name it with --label_column stars$"):
        open_table(path, TASK, KNOWN_COLUMNS, TableForm(text_a="place"))
    assert proposal(["place", "stars"], TASK, KNOWN_COLUMNS, {"text_a": "place"}) == "--label_column stars"
    assert proposal([" Text", "label"], TASK, KNOWN_COLUMNS) == "--text_column ' Text'", "a key of JSON may have blanks"
    assert proposal(["sentence1", "sentence2"], PREDICTION, ("text_a",)) is None, "one text of a pair is no guess"
