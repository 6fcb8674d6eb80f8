"""What is said of JSON files that people write."""

import pytest

from propeller.errors import UserError
from propeller.json_file import beside, read_json, read_tasks


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the list: cannot be read (No such file or directory): give one"),
        (b'{"a": "caf\xe9"}', "the list: not UTF-8 text at byte 10: the file looks like Latin-1"),
        (b'{"a": 1,\n}', "the list: line 2: not JSON (Expecting property name enclosed in double quotes): correct it"),
        (b'{"a": [{"b": 1, "b": 2}]}', "the list: key 'b' is given twice: remove one"),
        (b"[1]", "the list: holds no JSON object: correct it"),
    ],
    ids=["absent", "Latin-1", "a comma too many", "a key twice", "a list"],
)
def test_what_is_wrong_is_told(content, message, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_json(path, absent="give one", remedy="correct it", name="the list", is_object=True, once=True)
    assert str(caught.value).startswith(message)


def test_a_byte_order_mark_is_taken_off(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"tasks": [1], "comment": "two words"}')
    assert read_tasks(tmp_path / "a.json", absent="") == [1]


@pytest.mark.parametrize("text", ["[]", '{"tasks": []}', '{"tasks": {}}', '{"tasks": [1], "task": 1}'])
def test_other_json_is_no_list_of_tasks(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r'a.json: give an object {"tasks": \[a task, ...\]}'):
        read_tasks(tmp_path / "a.json", absent="")


def test_names_count_from_here_and_then_from_the_list(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "a.json"
    assert beside(path, "rows.tsv") == "rows.tsv", "messages show what the list says"
    (tmp_path / "lists" / "rows.tsv").touch()
    assert beside(path, "rows.tsv") == str(tmp_path / "lists" / "rows.tsv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.tsv").touch()
    assert beside(path, "rows.tsv") == "rows.tsv"
