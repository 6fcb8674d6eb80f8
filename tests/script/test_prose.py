"""script/prose.py: what it finds, and that documents, help texts and error messages are free of it."""

import pytest

from script.prose import ROOT, files, findings, main, prose_of, texts_of


def words(text):
    return [found for _, found, _ in findings(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("one file a variable", ["file a variable"]),
        ("60 frames a second, 80 rows a second", []),
        ("Flags behind it win", ["behind"]),
        ("parted by tabs, lest they run together", ["parted", "lest"]),
        ("it is told by its first line; the two cannot be told apart", ["told"]),
        ("new: stop early", ["new:"]),
        ("anew: a new run", []),
        ("2019 gave nan; the 2019 code gives nan", ["2019 gave"]),
        ("gradients are no finite numbers", ["no finite"]),
        ("what a checkpoint says of itself", ["says of itself"]),
        ("plain text: one file per variable, after the flags", []),
    ],
)
def test_what_is_found(text, found):
    assert words(text) == found


def test_a_line_is_that_of_the_words():
    assert [(line, found) for line, found, _ in findings("first\nsecond\nthird behind\n")] == [(2, "behind")]


def test_code_and_targets_of_a_document_are_not_prose():
    text = "Say `behind` here.\n\n```sh\nbehind\n```\n\n[a](behind.md) but behind\n"
    assert prose_of(text).count("\n") == text.count("\n")
    assert [(line, found) for line, found, _ in findings(prose_of(text))] == [(6, "behind")]


def test_what_a_program_shows_is_read():
    code = (
        'x = flag(None, "new: one")\n'
        'add("--a", help=f"{x} file a line")\n'
        'raise Own(f"parted by {x}")\n'
        'log.info("told")\n'
        'text = "lest"\n'
    )
    assert [(line, found) for line, text in texts_of(code) for found in words(text)] == [
        (1, "new:"),
        (2, "file a line"),
        (3, "parted"),
    ]


def test_documents_help_texts_and_errors_are_plain(capsys):
    looked_at = {path.relative_to(ROOT).as_posix() for path in files([])}
    assert {"README.md", "docs/data.md", "pretrain/training/args.py", "reader/tsv.py", "train.py"} <= looked_at
    assert main([]) == 0, capsys.readouterr().out


def test_a_finding_is_a_line_and_a_status(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("script.prose.ROOT", tmp_path)
    (tmp_path / "page.md").write_text("fine\nparted\n", encoding="utf-8")
    assert main(["page.md"]) == 1
    assert capsys.readouterr().out == "page.md:2: parted: write 'separated' or 'split'\n"
