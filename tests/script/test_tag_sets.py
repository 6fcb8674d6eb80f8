"""Tag sets that are not of the scheme asked for: what the message says to do is done, and the file is read."""

import json
import re

import pytest

from propeller.errors import UserError
from reader.tagging.tags import TagSet
from script import convert_tagged
from script.conversion_check import check_tagged
from tests.helpers.tiny import write_tsv

TOKENS = ["李", "明", "去", "河", "边", "。"]
BMES = {"B-N": 0, "M-N": 1, "E-N": 2, "S-N": 3, "O": 4}
BILOU = {"B-N": 0, "I-N": 1, "L-N": 2, "U-N": 3, "O": 4}
# name -> (label map, the tags, the tags after conversion in IOB)
SETS = {
    "plain": ({"B": 0, "I": 1, "O": 2}, "B I O B I O", "B-X I-X O B-X I-X O"),
    "underscore": ({"B_N": 0, "I_N": 1, "O": 2}, "B_N I_N O O O O", "B-N I-N O O O O"),
    "suffix": ({"N-B": 0, "N-I": 1, "O": 2}, "N-B N-I O O O O", "B-N I-N O O O O"),
    "lower": ({"b-n": 0, "i-n": 1, "o": 2, "O": 3}, "b-n i-n o o o o", "B-n I-n O O O O"),
    "mixed": ({"B-N": 0, "M-N": 1, "L-N": 2, "O": 3, "I-N": 4, "X_Y": 5}, "B-N M-N L-N O O O", "B-N I-N I-N O O O"),
}


def joined(text):
    return "\x02".join(text if isinstance(text, list) else text.split())


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("joint", ["\x02", " "])
def test_the_converter_that_is_named_mends_it(tmp_path, name, joint):
    mapping, tags, wanted = SETS[name]
    with pytest.raises(UserError, match="is not a tag of the chunk scheme IOB .*: correct it, or let") as error:
        TagSet(mapping)
    command = re.search(r"python script/convert_tagged.py (FILE.tsv) (NEW.tsv) ", str(error.value))
    rows = [(joined(TOKENS).replace("\x02", joint), joined(tags).replace("\x02", joint))]
    paths = {
        "FILE.tsv": write_tsv(tmp_path / "old.tsv", rows, ("text_a", "label")),
        "NEW.tsv": str(tmp_path / "new.tsv"),
    }
    assert convert_tagged.main([paths[word] for word in command.groups()]) == 0
    made = (tmp_path / "new.tsv").read_text().splitlines()
    assert made == ["text_a\tlabel", f"{joined(TOKENS)}\t{joined(wanted)}"]
    new = json.loads((tmp_path / "label_map.json").read_text())
    assert check_tagged(tmp_path / "new.tsv", new, "IOB") == 1


@pytest.mark.parametrize(("mapping", "prefixes"), [(BMES, "BMES"), (BILOU, "BILU")])
def test_bmes_and_bilou_are_taken_with_the_scheme_that_is_named(mapping, prefixes):
    with pytest.raises(UserError, match="give --chunk_scheme IOBES, which all tags are of") as error:
        TagSet(mapping)
    tags = TagSet(mapping, re.search(r"--chunk_scheme (\w+)", str(error.value))[1])
    first, inner, last, single = (mapping[f"{prefix}-N"] for prefix in prefixes)
    assert tags.entities([first, inner, last, single, 4]) == [("N", 0, 2), ("N", 3, 3)]
    assert tags.spread(single, 3) == [first, inner, last]
    assert tags.gather([first, inner, last]) == single
    assert tags.misplaced([first, last]) == 0
    assert tags.misplaced([first, 4]) == 1
    assert tags.names[inner] == f"{prefixes[1]}-N"  # predictions have the words of the map


def test_parts_of_speech_are_types(tmp_path, capsys):
    mapping = {"PN": 0, "VV": 1, "NN": 2}
    with pytest.raises(UserError, match="has no 'O': add it as class 3, with --num_labels 4, or name"):
        TagSet(mapping)
    with pytest.raises(UserError, match="or give --chunk_scheme IO if the tags are types"):
        TagSet({**mapping, "O": 3}, num_labels=4)
    tags = TagSet({**mapping, "O": 3}, "IO", num_labels=4)
    assert tags.entities([0, 1, 2, 2, 3]) == [("PN", 0, 0), ("VV", 1, 1), ("NN", 2, 3)]
    assert tags.spread(2, 3) == [2, 2, 2]
    assert tags.gather([2, 2]) == 2
    path = tmp_path / "pos.txt"
    path.write_text("他 PN\n去 VV\n河 NN\n\n")
    assert convert_tagged.main([str(path), str(tmp_path / "pos.tsv")]) == 0
    said = capsys.readouterr().out
    assert "4 tags; train with --chunk_scheme IO" in said
    assert check_tagged(tmp_path / "pos.tsv", json.loads((tmp_path / "label_map.json").read_text()), "IO") == 1


def test_blanks_after_a_tag_are_none_of_it(tmp_path):
    path = write_tsv(tmp_path / "a.tsv", [(joined(TOKENS), joined("O O O O O O") + " ")], ("text_a", "label"))
    assert check_tagged(path, {"B-N": 0, "I-N": 1, "O": 2}, "IOB") == 1
