"""Mistakes in tagged text that the converter meets: each is named with its file, its line and a remedy that works."""

import json

import pytest

from propeller.errors import UserError
from script import convert_tagged

GOOD = "Riga B-LOC\nis O\nfar O\n\nAnna B-PER\nBerzina I-PER\nstays O\n"
OTHER = "Riga B-PLACE\nis O\n\nAnna B-PERSON\nstays O\n"
PROSE = "Anna lives in Berlin.\nShe works at the old mill.\nThe ferry stops here.\nNobody knows why.\nIt rains.\n"


def convert(folder, content, *flags, name="a.conll", out="a.tsv"):
    (folder / name).write_text(content, encoding="utf-8")
    return convert_tagged.main([str(folder / name), str(folder / out), *flags])


def the_map(folder):
    return json.loads((folder / "label_map.json").read_text())


def test_a_map_of_other_tags_is_not_added_to(tmp_path, capsys):
    """What the message says to do makes a map of this file's tags alone."""
    convert(tmp_path, OTHER)
    words = (
        r"label_map\.json: was made of other tags \(B-PERSON, B-PLACE\) than those of these files \(B-LOC, .*delete it"
    )
    with pytest.raises(UserError, match=words):
        convert(tmp_path, GOOD)
    assert the_map(tmp_path) == {"B-PERSON": 0, "B-PLACE": 1, "O": 2}
    (tmp_path / "label_map.json").unlink()
    assert convert(tmp_path, GOOD) == 0
    assert the_map(tmp_path) == {"B-LOC": 0, "B-PER": 1, "I-PER": 2, "O": 3}


@pytest.mark.parametrize("before", ["Riga PLACE\nis O\nAnna PERSON\n", "Riga B-LOC\nis O\nAnna S-PER\n"])
def test_a_map_of_another_scheme_is_not_added_to(tmp_path, before):
    convert(tmp_path, before, "--scheme", "none")
    with pytest.raises(UserError, match=r"label_map\.json: was made of other tags"):
        convert(tmp_path, GOOD)


def test_a_tag_that_was_corrected_is_named(tmp_path, capsys):
    convert(tmp_path, GOOD.replace("is O", "is B-LCO"))
    convert(tmp_path, GOOD)
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("label_map.json: 5 tags; all of them were there; not in the files converted now: B-LCO")
    )


def test_a_given_map_of_another_scheme_is_named_itself(tmp_path):
    (tmp_path / "own.json").write_text('{"PERSON": 0, "O": 1}')
    with pytest.raises(UserError, match=r"own\.json: 'PERSON' is not a tag of the scheme IOB, .*leave --label_map out"):
        convert(tmp_path, GOOD, "--label_map", str(tmp_path / "own.json"))
    assert not (tmp_path / "label_map.json").exists()
    assert convert(tmp_path, GOOD) == 0


def test_no_map_is_written_where_nothing_is_converted(tmp_path):
    with pytest.raises(UserError, match="2 of 3 sentences refused"):
        convert(tmp_path, "Riga B-LOC\n\nAnna\n\nPeter\n")
    assert not (tmp_path / "label_map.json").exists()


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (PROSE, r"line 1: 'Berlin\.'"),
        (PROSE.replace(".", ""), "line 1: 'Berlin'"),
        ("\n".join(f"word{number} other{number}" for number in range(10)), "line 1: 'other0'"),
    ],
    ids=["marks", "columns", "different"],
)
def test_prose_is_refused(tmp_path, content, place):
    convert(tmp_path, GOOD)
    before = the_map(tmp_path)
    with pytest.raises(
        UserError, match=rf"a\.txt, {place} does not look like a tag, .*give one token and its tag per line"
    ):
        convert(tmp_path, content, name="a.txt", out="b.tsv")
    assert the_map(tmp_path) == before
    assert not (tmp_path / "b.tsv").exists()


def test_tags_that_look_like_words_are_kept_when_asked(tmp_path):
    content = "".join(f"word{number} tag{number}\n" for number in range(10))
    assert convert(tmp_path, content, "--scheme", "none") == 0
    assert the_map(tmp_path)["tag9"] == 9


@pytest.mark.parametrize("flags", [[], ["--scheme", "IOB"], ["--scheme", "IOBES"]])
@pytest.mark.parametrize("tag", ["LOC", "Place", "o"])
def test_a_tag_without_its_prefix(tmp_path, flags, tag):
    words = rf"a\.conll, line 9: the tag '{tag}' has no prefix among tags with prefixes \(such as 'B-LOC'\); correct it"
    with pytest.raises(UserError, match=words):
        convert(tmp_path, GOOD + f"\nOslo {tag}\n", *flags)
    assert convert(tmp_path, GOOD + f"\nOslo {tag}\n", "--scheme", "none") == 0
    assert tag in the_map(tmp_path)


def test_types_without_prefixes_and_a_scheme(tmp_path):
    with pytest.raises(UserError, match="line 1: the tag 'LOC' has no prefix .*; give --scheme none"):
        convert(tmp_path, "Riga LOC\nis O\n", "--scheme", "IOB")
    assert convert(tmp_path, "Riga LOC\nis O\n", "--scheme", "none") == 0
    assert convert(tmp_path, "is O\n", "--scheme", "IOB", out="out/o.tsv") == 0


def test_what_separates_tokens(tmp_path):
    """A blank, except where it would be part of a token, and in CJK text, which has none between its tokens."""
    for content, joint in (
        (GOOD, " "),
        ("Riga\tB-LOC\nNew York\tB-LOC\n", "\x02"),
        ("灯\tB-LOC\n塔\tI-LOC\n", "\x02"),
    ):
        (tmp_path / "label_map.json").unlink(missing_ok=True)
        convert(tmp_path, content)
        text = (tmp_path / "a.tsv").read_text()
        assert joint in text
        assert ("\x02" in text) == (joint != " ")
