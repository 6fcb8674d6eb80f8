"""CSV, JSON lines, JSON and Parquet: the rows, order and restarts of TSV; columns by name; errors with their place."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.row_encoder import LabelRule
from reader.survey import label_fields
from reader.tables.form import TableForm
from reader.tables.opening import open_table
from reader.tagging.reader import TaggingReader
from reader.tagging.tags import TagSet
from reader.task_reader import TaskReader
from tests.fixtures.reader_toy import ToyTokenizer
from tests.helpers.row_files import FORMS, write_as

ROWS = [(number % 3, " ".join(["word"] * (1 + number * 7 % 9) + [f"w{number}"])) for number in range(40)]
KINDS = [{}, {"bucket_window": 7}, {"in_tokens": True, "batch_size": 30}]
CHOSEN = TableForm(text_a="review", label="stars")


def reader_of(path, **flags):
    return TaskReader(path, ToyTokenizer(), **{"max_seq_len": 12, "batch_size": 4, **flags})


def listed(batches):
    return [({name: array.tolist() for name, array in batch.items()}, place) for batch, place in batches]


def fields(path, required=("text_a",), **options):
    """(place, fields or what is wrong) of every row."""
    table, found = open_table(path, required, **options), []
    for number, record in table.records():
        try:
            found.append((table.layout.where(number).removeprefix(f"{path}, "), table.layout.fields(record)))
        except ValueError as problem:
            found.append((table.layout.where(number).removeprefix(f"{path}, "), str(problem)))
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "kind", [{}, {"bucket_window": 7}, {"in_tokens": True, "batch_size": 30}], ids=lambda k: "-".join(k)
)
def test_batches_and_restarts_are_those_of_a_tsv(tmp_path, form, kind):
    flags = {"shuffle": True, "seed": 3, "epochs": 2, **kind}
    expected = listed(reader_of(write_as(tmp_path / "rows.tsv", ROWS), **flags).batches())
    path = write_as(tmp_path / f"rows.{form}", ROWS)
    assert listed(reader_of(path, **flags).batches()) == expected
    for number in (0, 4, len(expected) - 2):
        place = expected[number][1].to_dict()
        assert listed(reader_of(path, **flags).batches(place)) == expected[number + 1 :]


@pytest.mark.parametrize("form", FORMS)
def test_several_processes_read_every_row_once(tmp_path, form):
    path = write_as(tmp_path / f"rows.{form}", [(number, "a word") for number in range(23)])
    seen = [batch["labels"].ravel().tolist() for rank in range(3)
            for batch, _ in reader_of(path, shuffle=True, rank=rank, world_size=3).batches()]  # fmt: skip
    assert sorted(sum(seen, [])) == list(range(23))


@pytest.mark.parametrize("form", FORMS)
def test_workers_and_a_token_cache_give_the_same(tmp_path, form):
    path = write_as(tmp_path / f"rows.{form}", ROWS)
    flags = {"shuffle": True, "epochs": 2}
    expected = listed(reader_of(path, **flags).batches())
    cached = {**flags, "num_workers": int(form == "csv"), "token_cache_dir": tmp_path / "cache"}
    for _ in range(2):
        assert listed(reader_of(path, **cached).batches()) == expected


@pytest.mark.parametrize("form", ["tsv", *FORMS])
def test_columns_are_chosen_by_name_and_the_others_left_out(tmp_path, form):
    rows = [(7, label, text) for label, text in ROWS]
    path = write_as(tmp_path / f"rows.{form}", rows, ("id", "stars", "review"))
    table = open_table(path, ("text_a", "label"), form=CHOSEN)
    assert [table.layout.fields(record) for _, record in table.records()] == [[str(n), text] for n, text in ROWS]
    assert table.columns == ["label", "text_a"]
    other = open_table(path, form=TableForm(text_a="review"))
    assert table.identity != other.identity, "a cache of one is none of the other"
    assert table.sha256 == other.sha256
    with pytest.raises(UserError, match=r"unknown column 'id'; .*--text_column"):
        open_table(path)
    with pytest.raises(UserError, match=r"no column 'reviews' \(--text_column; there: id, stars, review\)"):
        open_table(path, form=TableForm(text_a="reviews"))
    with pytest.raises(UserError, match=r"column 'label' is missing .*--label_column"):
        open_table(path, ("text_a", "label"), form=TableForm(text_a="review"))
    with pytest.raises(UserError, match="chosen twice"):
        open_table(path, form=TableForm(text_a="review", label="review"))


def test_a_chosen_column_stands_before_the_one_of_the_name(tmp_path):
    path = write_as(tmp_path / "rows.csv", [("a", "b", 1)], ("text_a", "review", "label"))
    assert fields(path, form=TableForm(text_a="review")) == [("line 2", ["b", "1"])]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.text(st.sampled_from('a"\n\r,;\t é水'), max_size=8), st.integers(0, 3)), min_size=1, max_size=9
    )
)
def test_whatever_a_csv_holds_comes_back(tmp_path_factory, rows):
    """Line ends, quotes and separators within quotes; where they are told to be is where they are."""
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with open(path, "w", encoding="utf8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([("text_a", "label"), *rows])
    found = fields(path)
    assert [tuple(row) for _, row in found] == [(text, str(number)) for text, number in rows]
    content, line = path.read_bytes(), 2
    for (place, _), (text, _) in zip(found, rows):
        assert place == f"line {line}"
        line += 1 + text.count("\n")
    assert content.count(b"\n") == line - 1


BAD_CSV = 'label,text_a\n1,"two\nlines"\n2\n\n1,"a"b\n0,5" nails\n\n'


def test_bad_rows_of_a_csv_have_their_lines(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(BAD_CSV)
    found = dict(fields(path))
    assert found["line 2"] == ["1", "two\nlines"]
    assert found["line 4"].startswith("1 fields where the header has 2; mend the row")
    assert found["line 5"] == "the line is blank; remove it"
    assert found["line 6"].startswith("not CSV")
    assert found["line 7"] == ["0", '5" nails']
    assert len(found) == 5, "a blank line at the end is none"
    reader = reader_of(path, num_labels=2)
    survey = reader.survey()
    assert [row.line for row in survey.bad] == [4, 5, 6]
    reader.leave_out(survey)
    assert reader.table.dropped == (4, 5, 6)
    assert [reader.table.layout.where(row)[-6:] for row in range(2)] == ["line 2", "line 7"]
    assert len(listed(reader.batches())) == 1


@pytest.mark.parametrize("separator", [";", "|", "\t"])
def test_the_header_tells_what_separates_the_fields(tmp_path, separator):
    path = tmp_path / "rows.csv"
    path.write_text(f'"label"{separator}"text_a"\n1{separator}"a, {separator} b"\n')
    assert fields(path) == [("line 2", ["1", f"a, {separator} b"])]


def test_what_was_a_tsv_by_the_name_of_a_csv_still_is_one(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('label\ttext_a\n1\t"quoted\n')
    assert fields(path) == [("line 2", ["1", '"quoted'])]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", 'label,text_a\n1,x\n0,"open\nand so on\n', "line 3: a quote in this row is never closed"),
        ("a.csv", "", "line 1: the file is empty"),
        ("a.csv", "label,text_a\n", "there is a header but no row"),
        ("a.csv", "label,text_a\r1,x\r", "line 1: there is a carriage return"),
        ("a.csv", "id,text_a\n1,x\n", "line 1: unknown column 'id'"),
        ("a.csv", "1,x\n0,y\n", r"it seems to be a row: .* printf 'label,text_a\\n'; cat "),
        ("a.jsonl", "\n", "line 1: there is no row"),
        ("a.jsonl", "[1]\n", r"line 1: '\[1\]' is not an object"),
        ("a.jsonl", '{"text_a": "x"\n', r"line 1: not JSON \(Expecting ',' delimiter at column 15\)"),
        ("a.json", '[{"text_a": "x"},\n{"text_a": "y"}\n{"text_a": "z"}]', "line 3: a comma or ] is missing"),
        ("a.json", '[{"text_a": "x"},\n', "line 2: not JSON"),
        ("a.json", '[{"text_a": "x"}\n', "line 2: the array is not closed"),
        ("a.json", '[{"text_a": "x"}]\n\n1', "line 3: there is more after the array"),
        ("a.json", '[{"text_a": "x"},\n {"text_a" "y"}]', "line 2: not JSON"),
        ("a.json", '"text"', "line 1: not a JSON array of objects"),
        ("a.json", "[]", "there is no row"),
        ("a.parquet", "PAR1 and no more", "is not a Parquet file|Parquet is read with pyarrow"),
        ("a.txt", "PAR1 and no more", "is a Parquet file; read it with --format parquet"),
        ("a.csv", "label,text_a\n1,é".encode("gbk") + b"\n", "is not UTF-8"),
    ],
    ids=lambda value: None,
)  # fmt: skip
def test_a_file_that_cannot_be_read_has_its_line_and_remedy(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=said):
        next(reader_of(path, label_kind=None).batches())


ROWS_OF_JSON = [
    ({"text_a": "x", "label": 1}, ["x", "1"]),
    ({"text_a": "x", "label": True, "more": 0}, ["x", "true"]),
    ({"label": 0.5, "text_a": None}, ["", "0.5"]),
    ({"text_a": 3, "label": 1}, "text_a is '3', not text"),
    ({"label": 1}, "there is no 'text_a', which the first row has"),
    ({"text_a": "x"}, ["x", ""]),
    ({"text_a": "x", "label": {"a": 1}}, "label is '{\"a\": 1}'; give text or a number"),
    ({"text_a": "x", "label": ["b", 2]}, ["x", "b\x032\x03"]),
    ({"text_a": "x", "label": 1, "text_b": "y"}, "there is 'text_b', which the first row lacks"),
    ({"text_a": "\ud800", "label": 1}, "half a surrogate pair"),
    (["x"], "is not an object"),
    ("", "the line is blank"),
]


def test_values_of_json_as_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((json.dumps(row) if row else "") + "\n" for row, _ in ROWS_OF_JSON) + '{"text_a": "z"}\n')
    for (place, got), (number, (_, wanted)) in zip(fields(path), enumerate(ROWS_OF_JSON, 1)):
        assert place == f"line {number}"
        assert got == wanted if isinstance(wanted, list) else wanted in got
    assert list(label_fields(open_table(path)))[:3] == ["1", "true", "0.5"]


def test_values_of_parquet_as_text(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"text_a": ["x", None, "y"], "label": pyarrow.array([1, 2, None]), "id": [b"a", b"b", b"c"]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    form = TableForm(text_a="text_a")
    assert fields(tmp_path / "rows.parquet", form=form) == [
        ("row 1", ["x", "1"]), ("row 2", ["", "2"]), ("row 3", ["y", ""]),
    ]  # fmt: skip
    ((place, said), *_) = fields(tmp_path / "rows.parquet", form=TableForm(text_a="label"))
    assert (place, said.startswith("column 'label' is '1', not text")) == ("row 1", True)
    with pytest.raises(UserError, match="column 'id' is .*not text"):
        next(reader_of(tmp_path / "rows.parquet", form=TableForm(text_a="id"), label_kind=None).batches())


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_lists_of_tokens_and_tags(tmp_path, form):
    rows = [(["New York", "is", "far"], ["B-LOC", "O", "O"]), (["far"], ["O"])]
    tags = TagSet({"B-LOC": 0, "I-LOC": 1, "O": 2})
    path = write_as(tmp_path / f"rows.{form}", rows, ("tokens", "ner"))
    chosen = TableForm(text_a="tokens", label="ner")
    flags = {"tags": tags, "max_seq_len": 12, "batch_size": 4}
    reader = TaggingReader(path, ToyTokenizer(), form=chosen, **flags)
    assert [sentence.tokens for sentence in reader.sentences()] == [tokens for tokens, _ in rows]
    lines = ["text_a\tlabel", *("\t".join("\x02".join(part) for part in row) for row in rows)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    assert listed(reader.batches()) == listed(TaggingReader(tmp_path / "rows.tsv", ToyTokenizer(), **flags).batches())
    with pytest.raises(UserError, match="--text_pair_column ner: tagged sentences have one text"):
        TaggingReader(
            path, ToyTokenizer(), form=TableForm(text_a="tokens", text_b="ner", label="ner2"), **flags, labelled=False
        )


@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_so_many_rows_are_drawn_by_the_seed(tmp_path, form):
    path = write_as(tmp_path / f"rows.{form}", [(number, "a word") for number in range(30)])

    def labels(**flags):
        reader = reader_of(path, max_rows=10, **flags)
        assert reader.num_examples == 10
        return [number for batch, _ in reader.batches() for number in batch["labels"].ravel().tolist()]

    one = labels(seed=1)
    assert one == sorted(set(one)), "in the file's order"
    assert one == labels(seed=1) != labels(seed=2)
    assert sorted(labels(seed=1, shuffle=True)) == one
    assert reader_of(path, max_rows=30).num_examples == 30
    assert reader_of(path, max_rows=10).table.identity != reader_of(path).table.identity
    place = reader_of(path, max_rows=10, seed=1).table.layout.where(0)
    assert place == f"{path}, line {one[0] + 2}"


def test_a_set_of_labels_may_be_a_list(tmp_path):
    path = write_as(tmp_path / "rows.jsonl", [(["b", "a"], "x"), ([], "y")])
    rule = LabelRule("set", {"a": 0, "b": 1, "c": 2}, 3)
    assert [rule.read(word).tolist() for word in label_fields(open_table(path))] == [[1, 1, 0], [0, 0, 0]]
    assert np.array_equal(rule.array([]), np.zeros((0, 3)))
