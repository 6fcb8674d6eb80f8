"""Tagged text of any tag set becomes what the tagging reader takes; entities stay, whatever the scheme."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.tables.opening import open_table
from reader.tagging.tags import TagSet
from script import convert_table, convert_tagged, tagged_exports, tagged_text
from script.conversion_check import check_tagged
from script.tagged_text import entities, is_chunked, label_map, outside_of, renamed

CONLL = """-DOCSTART- -X- O O

Riga NNP I-NP I-LOC
Museum NNP I-NP I-ORG
. . O O

Anna NNP I-NP I-PER
Berzina NNP I-NP I-PER
"""
LABEL_STUDIO = "-DOCSTART- -X- O\n灯 -X- _ B-LOC\n塔 -X- _ I-LOC\n在 -X- _ O\n\n他 -X- _ O\n"
UNSPLIT = "-DOCSTART- -X- O\n张三和李四在北京工作，住在上海。 -X- _ B-PER\n\nAnn -X- _ B-PER\nworks -X- _ O\n"
WEIBO = "周0\tO\n六0\tO\n\n老0\tB-PER.NOM\n赵1\tI-PER.NOM\n在0\tO\n"
RESUME = "赵 B-NAME\n小 M-NAME\n明 E-NAME\n任 O\n校 B-TITLE\n长 E-TITLE\n赵 S-NAME\n"


def convert(tmp_path, content, *flags, name="train.txt"):
    (tmp_path / "out" / "label_map.json").unlink(missing_ok=True)  # of another conversion of the same test
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert convert_tagged.main([str(tmp_path / name), str(tmp_path / "out" / "train.tsv"), *flags]) == 0
    lines = (tmp_path / "out" / "train.tsv").read_text(encoding="utf-8").replace("\x02", " ").splitlines()
    assert lines[0] == "text_a\tlabel"
    mapping = json.loads((tmp_path / "out" / "label_map.json").read_text(encoding="utf-8"))
    return lines[1:], mapping


def test_columns_and_docstart_of_conll(tmp_path):
    """The tags of CoNLL 2003 begin an entity with I-; written they begin with B-."""
    rows, mapping = convert(tmp_path, CONLL)
    assert rows == ["Riga Museum .\tB-LOC B-ORG O", "Anna Berzina\tB-PER I-PER"]
    assert mapping == {"B-LOC": 0, "B-ORG": 1, "B-PER": 2, "I-PER": 3, "O": 4}


def test_an_export_of_label_studio(tmp_path):
    rows, mapping = convert(tmp_path, LABEL_STUDIO)
    assert rows == ["灯 塔 在\tB-LOC I-LOC O", "他\tO"]
    assert mapping == {"B-LOC": 0, "I-LOC": 1, "O": 2}


def test_chinese_that_label_studio_did_not_split_is_refused(tmp_path):
    """Its export in CoNLL's form has a token for each Chinese sentence, and one tag for all entities in it."""
    (tmp_path / "a.conll").write_text(UNSPLIT, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.conll: .* whole texts \(张三和李四在北京工作\.\.\.\).*: export JSON"):
        convert_tagged.main([str(tmp_path / "a.conll"), str(tmp_path / "a.tsv")])
    words = "中国科学院计算技术研究所 B-ORG\n昨天 O\n发布 O\n了 O\n关于 O\n全国 O\n人民 O\n的 O\n规划 O\n文件 O\n"
    assert len(convert(tmp_path, words)[0]) == 1, "a long name among words is no text"


def test_numbers_after_characters_are_asked_about(tmp_path):
    (tmp_path / "a.txt").write_text(WEIBO, encoding="utf-8")
    with pytest.raises(UserError, match=r"numbers after them \(周0\); give --strip_numbers true"):
        convert_tagged.main([str(tmp_path / "a.txt"), str(tmp_path / "a.tsv")])
    rows, mapping = convert(tmp_path, WEIBO, "--strip_numbers", "true")
    assert rows == ["周 六\tO O", "老 赵 在\tB-PER.NOM I-PER.NOM O"]
    assert mapping == {"B-PER.NOM": 0, "I-PER.NOM": 1, "O": 2}
    assert convert(tmp_path, WEIBO, "--strip_numbers", "false")[0][0] == "周0 六0\tO O"


def test_a_column_of_numbers_before_the_tokens(tmp_path):
    content = "1 Riga NNP I-LOC\n2 is VBZ O\n\n1 Anna NNP I-PER\n2 too RB O\n"
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(UserError, match="its first column numbers the tokens; give --token_column 2"):
        convert_tagged.main([str(tmp_path / "a.txt"), str(tmp_path / "a.tsv")])
    assert convert(tmp_path, content, "--token_column", "2")[0] == ["Riga is\tB-LOC O", "Anna too\tB-PER O"]


def test_bmes_in_the_scheme_asked_for(tmp_path):
    tokens = "赵 小 明 任 校 长 赵\t"
    for flags, tags in (
        ((), "B-NAME I-NAME I-NAME O B-TITLE I-TITLE B-NAME"),
        (("--scheme", "IOBES"), "B-NAME I-NAME E-NAME O B-TITLE E-TITLE S-NAME"),
        (("--scheme", "IOE"), "I-NAME I-NAME E-NAME O I-TITLE E-TITLE E-NAME"),
        (("--scheme", "IO"), "I-NAME I-NAME I-NAME O I-TITLE I-TITLE I-NAME"),
        (("--scheme", "none"), "B-NAME M-NAME E-NAME O B-TITLE E-TITLE S-NAME"),
    ):
        rows, mapping = convert(tmp_path, RESUME, *flags)
        assert rows == [tokens + tags]
        assert set(mapping) == set(tags.split())


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("B-X I-X L-X O U-X", "B-X I-X I-X O B-X"),  # BILOU
        ("B_X I_X O O", "B-X I-X O O"),
        ("X-B X-I O O", "B-X I-X O O"),
        ("b-x i-x o o", "B-x I-x O O"),
        ("B-X I-X 0 0", "B-X I-X O O"),
        ("B I O B", "B-X I-X O B-X"),
        ("PN VV NN NN", "PN VV NN NN"),  # parts of speech
    ],
)
def test_other_tag_sets(tmp_path, tags, wanted):
    content = "".join(f"w{number} {tag}\n" for number, tag in enumerate(tags.split()))
    rows, mapping = convert(tmp_path, content)
    assert [row.split("\t")[1] for row in rows] == [wanted]
    assert set(mapping) == {*wanted.split(), "O"}


def test_several_files_share_a_label_map(tmp_path):
    for name, content in (("train.txt", LABEL_STUDIO), ("dev.txt", CONLL)):
        (tmp_path / name).write_text(content, encoding="utf-8")
    out = tmp_path / "out"
    assert convert_tagged.main([*(str(tmp_path / name) for name in ("train.txt", "dev.txt")), str(out)]) == 0
    mapping = json.loads((out / "label_map.json").read_text())
    assert set(mapping) == {"B-LOC", "I-LOC", "B-ORG", "B-PER", "I-PER", "O"}
    assert [check_tagged(out / f"{name}.tsv", mapping, "IOB") for name in ("train", "dev")] == [2, 2]


def test_a_label_map_that_is_given_refuses_other_tags(tmp_path, capsys):
    (tmp_path / "map.json").write_text('{"B-PER": 0, "I-PER": 1, "O": 2}')
    (tmp_path / "a.txt").write_text(CONLL)
    flags = ["--label_map", str(tmp_path / "map.json")]
    assert convert_tagged.main([str(tmp_path / "a.txt"), str(tmp_path / "a.tsv"), *flags]) == 0
    assert "refused: 1 x unknown tag 'B-LOC' (first: line 3)" in capsys.readouterr().out
    assert (tmp_path / "a.tsv").read_text().count("\n") == 2


def test_blanks_marks_and_lines_without_a_tag(tmp_path, capsys):
    content = "\ufeff你 O \n  O\n好 O\n\n坏\n了 O\n\n他 O\n"
    rows, _ = convert(tmp_path, content)
    assert [row.split("\t")[0] for row in rows] == ["你   好", "他"], "a blank between two blanks is a token"
    assert "refused: 1 x a line of its sentence has no tag (first: line 5)" in capsys.readouterr().out


def test_what_cannot_be_converted_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("just words\nno tags\n")
    (tmp_path / "b.txt").write_bytes("赵 B-NAME\n明 I-NAME\n".encode("gbk"))
    (tmp_path / "c.txt").write_text("a B-X\nb odd\n")
    (tmp_path / "d.txt").write_text("one\ntwo\n")
    out = str(tmp_path / "o.tsv")
    for name, flags, message in (
        ("b.txt", [], "not UTF-8; the file looks like GBK; convert it: iconv -f GB18030"),
        ("c.txt", ["--scheme", "IOB"], "line 2: the tag 'odd' has no prefix among tags with prefixes"),
        ("d.txt", [], "no line has a token and a tag"),
        ("none.txt", [], "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            convert_tagged.main([str(tmp_path / name), out, *flags])
    with pytest.raises(UserError, match="one file cannot hold 2"):
        convert_tagged.main([str(tmp_path / "a.txt"), str(tmp_path / "c.txt"), out])


KINDS = st.lists(st.tuples(st.sampled_from(["A", "B-C", None]), st.integers(1, 4)), min_size=1, max_size=6)


@given(KINDS, st.sampled_from(["IOB", "IOBES"]))
def test_entities_stay_in_schemes_that_can_tell_neighbours_apart(runs, scheme):
    spans, at = [], 0
    for kind, length in runs:
        if kind:
            spans.append((kind, at, at + length - 1))
        at += length
    tags = ["O"] * at
    for kind, first, last in spans:
        names = ["S"] if first == last else ["B", *"M" * (last - first - 1), "E"]
        tags[first : last + 1] = [f"{name}-{kind}" for name in names]
    made = renamed(tags, scheme)
    assert entities(tags) == spans == entities(made)
    mapping = label_map(
        [*made, *(f"{prefix}-{kind}" for kind in ("A", "B-C") for prefix in "BIES"[: len(scheme)]), "O"]
    )
    if scheme == "IOBES":
        assert TagSet(mapping, scheme).misplaced([mapping[tag] for tag in made]) == 0


def test_which_tags_mean_outside():
    assert outside_of(["O", "0", "B-X"]) == {"O"}
    assert outside_of(["0", "B-X"]) == {"0"}
    assert outside_of(["NN", "0"]) == set()
    assert not is_chunked(["O"])
    assert not is_chunked(["NN", "VV"])
    assert tagged_text.columns("李\tnr\tB-PER") == ("李", "B-PER")
    assert tagged_text.columns(" \tO") == (" ", "O")
    assert tagged_text.columns("\tO") is None


def test_a_file_of_which_most_is_refused_is_not_converted(tmp_path, capsys):
    """Sentences that end without a tag on most of their lines: another layout than the one that is read."""
    path, out = tmp_path / "a.txt", tmp_path / "out" / "a.tsv"
    path.write_text("Riga B-LOC\nis O\n\n" + "Anna\nBerzina B-PER\n\n" * 2)
    words = (
        "2 of 3 sentences refused, most of them: a line of its sentence has no tag .first: line 4.; .*--allow_refused"
    )
    with pytest.raises(UserError, match=words):
        convert_tagged.main([str(path), str(out)])
    assert not out.exists()
    assert convert_tagged.main([str(path), str(out), "--allow_refused"]) == 0
    assert len(out.read_text().splitlines()) == 2
    path.write_text("Riga B-LOC\nis O\n\nAnna\nBerzina B-PER\n")  # half of it is a line of the report
    assert convert_tagged.main([str(path), str(out)]) == 0
    assert "2 sentences in, 1 sentence out, 1 refused" in capsys.readouterr().out


# ---------------------------------------------------------------- exports of annotation tools

STUDIO = [
    {"id": 1, "data": {"text": "Anna Berzina visited 灯塔 😀 Riga."}, "annotations": [
        {"was_cancelled": True, "result": []}, {"was_cancelled": False, "result": [
            {"type": "labels", "value": {"start": 0, "end": 12, "text": "Anna Berzina", "labels": ["PER"]}},
            {"type": "labels", "value": {"start": 21, "end": 23, "text": "灯塔", "labels": ["LOC"]}},
            {"type": "choices", "value": {"choices": ["good"]}},
            {"type": "labels", "value": {"start": 27, "end": 31, "text": "Riga", "labels": ["LOC"]}},
        ]}]},
    {"id": 2, "data": {"text": "nobody"}, "annotations": []},
    {"id": 3, "data": {"text": "the film"}, "annotations": [{"result": []}]},
]  # fmt: skip
SMALL = [{"text": each["data"]["text"], "id": 1, "label": [
    part["value"] for part in each["annotations"][-1]["result"] if "labels" in part["value"]
]} for each in STUDIO if each["annotations"]]  # fmt: skip
DOCCANO = [
    {
        "id": 1,
        "text": "Anna Berzina visited 灯塔 😀 Riga.",
        "label": [[0, 12, "PER"], [21, 23, "LOC"], [26, 30, "LOC"]],
    },
    {"id": 3, "text": "the film", "label": []},
]
NEWER = [
    {**{key: value for key, value in each.items() if key != "label"}, "relations": [], "entities": [
        {"id": 5, "start_offset": start, "end_offset": end, "label": kind} for start, end, kind in each["label"]]}
    for each in DOCCANO
]  # fmt: skip
EXPORTS = {
    "label-studio": json.dumps(STUDIO, ensure_ascii=False, indent=1),
    "label-studio, small": json.dumps(SMALL, ensure_ascii=False),
    "doccano": "".join(json.dumps(row) + "\n" for row in DOCCANO),
    "doccano, newer": "\ufeff" + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in NEWER),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_an_export_with_places(tmp_path, case):
    """Places of label-studio count the units of UTF-16, where a smiley is two."""
    rows, mapping = convert(tmp_path, EXPORTS[case], name="export.json")
    assert rows == ["Anna Berzina visited 灯 塔 😀 Riga .\tB-PER I-PER O B-LOC I-LOC O B-LOC O", "the film\tO O"]
    assert mapping == {"B-LOC": 0, "I-LOC": 1, "B-PER": 2, "I-PER": 3, "O": 4}
    assert check_tagged(tmp_path / "out" / "train.tsv", mapping, "IOB") == 2


@pytest.mark.parametrize(
    ("labels", "tags"),
    [
        ([[0, 4, "A"], [4, 8, "B"]], "Anna:B-A land:B-B s:O"),
        ([[1, 4, "A"]], "A:O nna:B-A lands:O"),
        ([[0, 4, "A"], [3, 8, "B"]], None),
        ([[0, 40, "A"]], None),
        ([[3, 3, "A"]], None),
        ([[-1, 3, "A"]], None),
    ],
)
def test_entities_cut_words_and_do_not_overlap(tmp_path, labels, tags):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "Annalands", "label": labels}) + "\n")
    ((line, tokens, names, problem),) = tagged_exports.sentences(tmp_path / "a.jsonl")
    assert line == 1
    if tags is None:
        assert problem
    else:
        assert problem is None
        assert " ".join(map(":".join, zip(tokens, names))) == tags


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "label": ["good"]}\n', "line 1: \"'good'\" is not an entity|line 1: 'good' is not an entity"),
        ('{"title": "a", "body": "b", "label": []}\n', r"line 1: no field 'text' \(there: title, body, label\)"),
        ('[{"text": "a", "label": []},\n{"text": }]', "line 2: not JSON"),
        ('{"text": "a"\n', "line 1: not JSON"),
    ],
    ids=["classes", "no text", "array", "line"],
)
def test_another_export_is_refused_with_its_line(tmp_path, content, said):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=said):
        convert_tagged.main([str(tmp_path / "a.json"), str(tmp_path / "a.tsv")])


def test_an_export_given_to_training_names_the_converter(tmp_path):
    (tmp_path / "a.json").write_text(EXPORTS["label-studio"])
    with pytest.raises(UserError, match=r"export of label-studio or doccano: python script/convert_tagged\.py"):
        open_table(tmp_path / "a.json")


def test_a_label_map_that_is_there_keeps_what_it_has(tmp_path, capsys):
    """Files converted one after the other share it: known tags keep their numbers, new ones come after them."""
    more = CONLL + "Hansa I-MISC\n"
    said = []
    for name, content in (("train.txt", CONLL), ("dev.txt", "Riga B-LOC\n. O\n"), ("more.txt", more)):
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert convert_tagged.main([str(tmp_path / name), str(tmp_path / "out" / f"{name[:-4]}.tsv")]) == 0
        said.append(capsys.readouterr().out.splitlines()[-1].partition("label_map.json: ")[2])
    first = {"B-LOC": 0, "B-ORG": 1, "B-PER": 2, "I-PER": 3, "O": 4}
    mapping = json.loads((tmp_path / "out" / "label_map.json").read_text())
    assert mapping == {**first, "B-MISC": 5}
    assert said == [
        "5 tags",
        "5 tags; all of them were there; not in the files converted now: B-ORG, B-PER, I-PER",
        "6 tags; added to those that were there: B-MISC",
    ]
    (tmp_path / "out" / "label_map.json").write_text("[]")
    with pytest.raises(UserError, match="or move it away: the converter writes one there"):
        convert_tagged.main([str(tmp_path / "dev.txt"), str(tmp_path / "out" / "dev.tsv")])


def test_words_of_tables_are_added_to_a_label_map(tmp_path):
    for name, labels in (("train", "good bad"), ("dev", "bad"), ("other", "ugly good")):
        rows = "".join(f"{label},text {number}\n" for number, label in enumerate(labels.split()))
        (tmp_path / f"{name}.csv").write_text("label,text_a\n" + rows)
        assert convert_table.main([str(tmp_path / f"{name}.csv"), str(tmp_path / f"{name}.tsv")]) == 0
    assert json.loads((tmp_path / "label_map.json").read_text()) == {"bad": 0, "good": 1, "ugly": 2}
