"""check_columns: a column that is not there is found from the head of a file of any form, with the reader's words."""

import pytest

from propeller.errors import UserError
from reader.tables.form import COPY, SKIP, TableForm
from reader.tables.header import check_columns, column_names
from reader.tables.opening import open_table
from tests.helpers.row_files import write_as

HEADER = ("id", "subject", "body", "team")
FORMS = ("tsv", "csv", "jsonl", "json", "parquet")


@pytest.fixture(params=FORMS)
def path(request, tmp_path):
    rows = [(str(number), "Hello", "a fine film", "sales") for number in range(5)]
    return write_as(tmp_path / f"tickets.{request.param}", rows, HEADER)


def test_names_are_those_of_the_file(path):
    assert column_names(path) == list(HEADER)


@pytest.mark.parametrize("others", [SKIP, COPY])
def test_a_missing_column_is_the_error_of_the_reader(path, others):
    form = TableForm(text_a="body", label="taem", others=others)
    with pytest.raises(UserError, match=r"no column 'taem' \(--label_column; there: id, subject, body, team\)") as ours:
        check_columns(path, form, ("text_a", "label"))
    with pytest.raises(UserError) as theirs:
        open_table(path, ("text_a", "label"), form=form)
    assert str(ours.value) == str(theirs.value)
    with pytest.raises(UserError, match=r"no column 'boody' \(--text_column"):
        check_columns(path, TableForm(text_a="boody", others=others))
    with pytest.raises(UserError, match=r"no column 'x' \(--text_pair_column"):
        check_columns(path, TableForm(text_a="body", text_b="x", others=others))
    with pytest.raises(UserError, match=r"column 'text_a' is missing \(there: id, subject, body, team\)"):
        check_columns(path, TableForm(others=others))


def test_only_the_head_is_read_where_all_is_there(path, monkeypatch):
    monkeypatch.setattr("reader.tables.header.open_table", lambda *_: pytest.fail("the file was read through"))
    check_columns(path, TableForm(text_a="body", label="team", others=COPY), ("text_a", "label"))


def test_a_label_that_nobody_needs_may_be_missing(path):
    """Test sets without labels are read with the flags of the training file."""
    check_columns(path, TableForm(text_a="body", label="taem", others=SKIP))


def test_a_key_of_a_later_row_counts_where_columns_are_copied(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text_a": "good"}\n{"text_a": "bad", "stars": 1}\n')
    check_columns(tmp_path / "rows.jsonl", TableForm(text_a="text_a", label="stars", others=COPY))


def test_files_that_cannot_be_told_at_a_glance(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check_columns(tmp_path / "none.csv")
    (tmp_path / "lines.txt").write_text("good film\n")
    check_columns(tmp_path / "lines.txt", TableForm(others=COPY))
    (tmp_path / "marked.csv").write_bytes('\ufeff"text_a";label\r\ngood;1\r\n'.encode())
    assert column_names(tmp_path / "marked.csv") == ["text_a", "label"]
    (tmp_path / "latin.csv").write_bytes("text_a,na\xefve\nx,y\n".encode("latin1"))
    with pytest.raises(UserError, match="UTF-8"):
        check_columns(tmp_path / "latin.csv")
