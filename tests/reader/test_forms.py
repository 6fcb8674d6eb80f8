"""What a file is told to be that is no TSV of the readers, and that the command in the message makes one of it."""

import gzip
import json
import re
import shlex
import subprocess
import sys

import pytest

from pretrain import build_vocab, click_log
from pretrain.corpus.documents import documents
from pretrain.corpus.stop_words import read_stop_words
from propeller.encoding import guess, not_utf8, read_text
from propeller.errors import UserError
from reader.pretraining.shard_files import read_filelist
from reader.row_encoder import LabelRule, load_label_map
from reader.squad.file import SquadFile
from reader.tables.form import TableForm
from reader.tables.opening import open_table
from reader.tsv import TsvFile
from script.conversion_check import check_table, check_tagged
from tests.helpers.common import ROOT
from tests.helpers.squad import squad
from tokenization import FullTokenizer, build_tokenizer

MARK = b"\xef\xbb\xbf"
TEXTS = ["作业很难做", "天气晴朗，风很小", "书店里人不多", "饭菜可口，价格公道"]
TABLE = "label\ttext_a\n" + "".join(f"{number % 2}\t{text}\n" for number, text in enumerate(TEXTS))
SPANISH = "label\ttext_a\n1\tel niño come maíz\n0\tmañana será difícil\n"


def carried_out(message, cwd):
    """Run the command that a message ends with, as it stands there; OUT.tsv is in ``cwd``."""
    command = re.search(r"(?:iconv|gzip -dc|python script/convert_\w+\.py) .*", message).group()
    command = command.replace("python script", f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'script'))}")
    command = re.sub(r" \(.*\)$", "", command)
    done = subprocess.run(command, shell=True, cwd=cwd, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize(
    ("encoding", "text", "wanted"),
    [
        ("gbk", TABLE, "GB18030"),
        ("gb18030", TABLE + "1\t㐀字\n", "GB18030"),
        ("big5", "label\ttext_a\n1\t這間酒店的服務很好\n0\t房間太小，價錢又貴\n", "BIG5"),
        ("utf-16", TABLE, "UTF-16"),
        ("utf-16-le", "label\ttext_a\n1\tgood\n", "UTF-16LE"),
        ("utf-16-be", "label\ttext_a\n1\tgood\n", "UTF-16BE"),
        ("utf-32", TABLE, "UTF-32"),
        ("latin-1", SPANISH, "WINDOWS-1252"),
        ("cp1252", "label\ttext_a\n1\t“fine” – it’s good\n", "WINDOWS-1252"),
    ],
)
def test_an_encoding_is_told_and_the_remedy_works(tmp_path, encoding, text, wanted):
    path = tmp_path / "a table.tsv"
    path.write_bytes(text.encode(encoding))
    assert guess(path.read_bytes()) == wanted
    with pytest.raises(UserError) as caught:
        check_table(path, LabelRule("class"))
    message = str(caught.value)
    assert "\n" not in message
    assert carried_out(message, tmp_path).returncode == 0
    made = tmp_path / "a table.utf8.tsv"
    assert made.read_text(encoding="utf-8") == text
    assert check_table(made, LabelRule("class")) == text.count("\n") - 1


def test_a_damaged_byte_is_not_taken_for_another_encoding(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(TABLE.encode() + b"1\t\xe4\xbd\n")
    with pytest.raises(UserError, match="the rest of the file is UTF-8, so mend the line") as caught:
        check_table(path, LabelRule("class"))
    carried_out(str(caught.value), tmp_path)
    assert check_table(tmp_path / "a.utf8.tsv", LabelRule("class")) == len(TEXTS) + 1


def test_binary_is_no_encoding():
    data = bytes(range(256)) * 4
    with pytest.raises(UnicodeDecodeError) as caught:
        data.decode("utf-8")
    assert "no text at all" in not_utf8("nowhere", caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_corpus_in_gbk(tmp_path, pack):
    text = "运河连接两座城市。\n\n渡口边有一棵老树。\n"
    path = tmp_path / ("a.txt.gz" if pack is gzip.compress else "a.txt")
    path.write_bytes(pack(text.encode("gbk")))
    with pytest.raises(UserError, match="a.txt.*, line 1: .* looks like GBK") as caught:
        list(documents(path))
    assert carried_out(str(caught.value), tmp_path).returncode == 0
    (made,) = tmp_path.glob("*.utf8*")
    assert made.read_text(encoding="utf-8") == text


def test_questions_label_maps_vocabularies_lists_and_words_in_gbk(tmp_path):
    squad(tmp_path / "m.json", ("运河的水很清", [("1", "什么很清", "水")]))
    content = json.dumps(json.loads((tmp_path / "m.json").read_text()), ensure_ascii=False)
    files = {
        "m.json": (content, lambda path: SquadFile(path, "train")),
        "labels.json": ('{"好": 1, "坏": 0}', load_label_map),
        "vocab.txt": ("[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n好\n坏\n", FullTokenizer),
        "filelist": ("甲乙丙/语料.gz\t0.5\n", read_filelist),
        "words.txt": ("的\n了\n", read_stop_words),
    }
    for name, (text, load) in files.items():
        path = tmp_path / name
        path.write_bytes(text.encode("gbk"))
        with pytest.raises(UserError, match="looks like GBK; convert it: iconv -f GB18030") as caught:
            load(path)
        assert carried_out(str(caught.value), tmp_path).returncode == 0
        made = path.with_name(f"{path.stem}.utf8{path.suffix}")
        assert made.read_text(encoding="utf-8") == text
        load(made)


# ---------------------------------------------------------------- byte-order marks


def test_a_byte_order_mark_is_no_text_wherever_a_file_is_read(tmp_path):
    def marked(name, text):
        (tmp_path / name).write_bytes(MARK + text.encode())
        return tmp_path / name

    vocab = marked("vocab.txt", "[PAD]\n[CLS]\n[SEP]\n[MASK]\n[UNK]\n好\n")
    assert build_tokenizer("FullTokenizer", vocab).pad_id == 0
    assert load_label_map(marked("labels.json", '{"a": 0}')) == {"a": 0}
    (shard,) = read_filelist(marked("filelist", "shards/a.gz\t1.0\n"))
    assert shard.path == "shards/a.gz"
    assert read_stop_words(marked("words.txt", "the\n")) == {"the"}
    assert TsvFile(marked("a.tsv", TABLE)).columns == ["label", "text_a"]
    assert [found.paragraphs for found in documents(marked("a.txt", "一行\n"))] == [["一行"]]
    assert next(click_log.rows(marked("clicks.tsv", "query\ttitle\tclicked\n问\t答\t1\n"))) == ("问", "答", True)
    squad(tmp_path / "m.json", ("the film", [("1", "what", "film")]))
    assert len(SquadFile(marked("m.json", (tmp_path / "m.json").read_text())).questions) == 1
    assert read_text(marked("b.txt", "b")) == "b"
    build_vocab.main(
        ["--input", str(marked("c.txt", "甲乙甲乙\n")), "--output", str(tmp_path / "v"), "--min_count", "1"]
    )
    assert "\ufeff" not in (tmp_path / "v").read_text(encoding="utf-8")


def test_configurations_and_other_libraries_files_with_a_mark(tmp_path):
    from ernie.config import ErnieConfig
    from ernie.foreign import read_json
    from pretrain.corpus.connective_list import load
    from pretrain.training.task_list import read_task_list
    from propeller.hparams import parse_file

    for source in (ROOT / "config" / "connectives_en.json", ROOT / "config" / "task_list_en.json"):
        (tmp_path / source.name).write_bytes(MARK + source.read_bytes())
    assert load(tmp_path / "connectives_en.json") == load(ROOT / "config" / "connectives_en.json")
    assert len(read_task_list(tmp_path / "task_list_en.json")) == len(
        read_task_list(ROOT / "config" / "task_list_en.json")
    )
    small = next(iter(sorted(ROOT.glob("config/ernie*config*.json"))))
    (tmp_path / "ernie_config.json").write_bytes(MARK + small.read_bytes())
    assert ErnieConfig(tmp_path / "ernie_config.json").to_dict() == ErnieConfig(small).to_dict()
    (tmp_path / "config.json").write_bytes(MARK + b'{"a": 1}')
    assert read_json(tmp_path / "config.json") == {"a": 1}
    (tmp_path / "hparams").write_bytes(MARK + b'{"a": 1}')
    assert parse_file(tmp_path / "hparams") == {"a": 1}


# ---------------------------------------------------------------- tables

QUOTED = '"label"\t"text_a"\n' + "".join(f'"{number % 2}"\t"{text}"\n' for number, text in enumerate(TEXTS))
ROWS = [{"label": number % 2, "text_a": text} for number, text in enumerate(TEXTS)]
OTHERS = {
    "quoted": (QUOTED, "its fields are in quotes"),
    "commas": (TABLE.replace("\t", ","), "separated by commas"),
    "quoted commas": (QUOTED.replace("\t", ","), "separated by commas"),
    "semicolons": (TABLE.replace("\t", ";"), "separated by semicolons"),
    "an index of pandas": (
        "\tlabel\ttext_a\n" + "".join(f"{n}\t{n % 2}\t{t}\n" for n, t in enumerate(TEXTS)),
        "no name",
    ),
    "JSON lines": ("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), "JSON lines"),
    "a JSON array": (json.dumps(ROWS, ensure_ascii=False, indent=1), "looks like JSON"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_table_of_another_form_is_named_and_its_command_converts_it(tmp_path, case):
    content, what = OTHERS[case]
    path = tmp_path / "a table"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        TsvFile(path)
    message = str(caught.value).replace("text_a=FIELD label=FIELD", "text_a=text_a label=label")
    assert message.startswith(f"{path}, line 1: ")
    assert what in message
    done = carried_out(message, tmp_path)
    assert done.returncode == 0, done.stderr
    # Within commas a text that holds one has to be in quotes, which these rows have only in the quoted case.
    rows = {tuple(line.split("\t")) for line in (tmp_path / "OUT.tsv").read_text(encoding="utf-8").splitlines()}
    whole = {tuple(reversed((text, str(number % 2)))) for number, text in enumerate(TEXTS)}
    assert {frozenset(row) for row in rows} == {frozenset(row) for row in whole | {("label", "text_a")}}


@pytest.mark.parametrize(
    ("header", "columns", "made"),
    [
        ("stars,review", "text_a=review label=stars", "text_a\tlabel\ngood, cheap\t5\nbad\t1\n"),
        ("label,review", "text_a=review label=label", "text_a\tlabel\ngood, cheap\t5\nbad\t1\n"),
        ("x1,x2", "text_a=x1 label=x2", "text_a\tlabel\n5\tgood, cheap\n1\tbad\n"),
    ],
)
def test_names_of_other_columns_are_given_to_the_command(tmp_path, header, columns, made):
    path = tmp_path / "reviews.csv"
    path.write_text(f'{header}\n5,"good, cheap"\n1,bad\n', encoding="utf-8")
    with pytest.raises(UserError, match=rf"separated by commas.*--columns {columns} \(name the") as caught:
        TsvFile(path)
    assert carried_out(str(caught.value), tmp_path).returncode == 0
    assert (tmp_path / "OUT.tsv").read_text() == made


TAGGED = {
    "blanks": "运 B-LOC\n河 I-LOC\n在 O\n\n他 O\n",
    "tabs": "运\tB-LOC\n河\tI-LOC\n在\tO\n\n他\tO\n",
    "columns": "-DOCSTART- -X- O O\n\n运 NN B-NP B-LOC\n河 NN I-NP I-LOC\n在 P O O\n\n他 PN O O\n",
    "BMES": "运 B-LOC\n河 E-LOC\n在 O\n\n他 O\n",
}


@pytest.mark.parametrize("case", TAGGED)
def test_tagged_text_is_named_and_its_command_converts_it(tmp_path, case):
    path = tmp_path / "train.txt"
    path.write_text(TAGGED[case], encoding="utf-8")
    with pytest.raises(UserError, match="looks like tagged text") as caught:
        TsvFile(path, ("text_a", "label"), ("text_a", "label"))
    assert carried_out(str(caught.value), tmp_path).returncode == 0
    mapping = load_label_map(tmp_path / "label_map.json")
    assert mapping == {"B-LOC": 0, "I-LOC": 1, "O": 2}
    assert check_tagged(tmp_path / "OUT.tsv", mapping, "IOB") == 2


@pytest.mark.parametrize("others", ["copy", "skip"])
@pytest.mark.parametrize("name", ["new.conll", "new.txt"])
def test_tagged_text_to_predict_or_embed_is_named_too(tmp_path, name, others):
    """Lines of a .txt that end in a tag are texts only where that is asked for."""
    path = tmp_path / name
    path.write_text(TAGGED["tabs"].replace("\n\n", "\n"), encoding="utf-8")
    with pytest.raises(UserError, match=rf"{name}, line 1: .*looks like tagged text.*convert_tagged\.py") as caught:
        open_table(path, form=TableForm(others=others))
    assert ("--format txt" in str(caught.value)) == (name == "new.txt")
    assert carried_out(str(caught.value), tmp_path).returncode == 0
    assert open_table(tmp_path / "OUT.tsv", form=TableForm(others=others)).num_rows == 1
    assert open_table(path, form=TableForm(format="txt", others=others)).num_rows == 4


def test_questions_and_sheets_are_named(tmp_path):
    path = squad(tmp_path / "m.json", ("the film", [("1", "what", "film")]))
    with pytest.raises(UserError, match=r"questions over contexts in JSON; run_mrc\.py"):
        TsvFile(path)
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 sheet\nx\n")
    with pytest.raises(UserError, match="Excel"):
        TsvFile(tmp_path / "a.xlsx")


def test_a_table_given_to_reading_comprehension(tmp_path):
    (tmp_path / "a.tsv").write_text(TABLE, encoding="utf-8")
    with pytest.raises(UserError, match=r"looks like a table, which run_classifier\.py reads"):
        SquadFile(tmp_path / "a.tsv")


# ---------------------------------------------------------------- special tokens


@pytest.mark.parametrize(
    ("tokens", "renamed"),
    [
        (["[unused1]", "[CLS]", "[SEP]", "[UNK]", "a"], "[unused1]"),
        (["<pad>", "[CLS]", "[SEP]", "[UNK]", "a"], "<pad>"),
    ],
)
def test_a_missing_special_token_has_a_remedy_that_keeps_the_number_of_tokens(tmp_path, tokens, renamed):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tokens) + "\n")
    with pytest.raises(UserError, match=re.escape(f"[PAD] is missing; rename '{renamed}' to it there")):
        build_tokenizer("FullTokenizer", path)
    path.write_text("\n".join(tokens).replace(renamed, "[PAD]") + "\n")
    assert len(build_tokenizer("FullTokenizer", path).vocab) == len(tokens)


def test_a_vocabulary_without_a_token_to_rename(tmp_path):
    (tmp_path / "vocab.txt").write_text("[CLS]\n[SEP]\n[UNK]\na\n")
    with pytest.raises(UserError, match=r"\[PAD\] is missing; give the vocab.txt that came with the model"):
        build_tokenizer("FullTokenizer", tmp_path / "vocab.txt")
