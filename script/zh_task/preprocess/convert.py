"""Chinese data sets as their owners distribute them -> files of the readers; script/zh_task/preprocess/cvt.sh runs it.

    python script/zh_task/preprocess/convert.py RAW_DIR zh_data_processed

FILES names what it looks for in RAW_DIR. Labels that are words stay words, with a label_map.json beside them, but for
THUCNews, whose recipe takes classes. Test sets that come with labels keep them.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text
from reader.row_encoder import LabelRule
from script import tagged_text
from script.conversion import (
    ALLOW_REFUSED,
    Refused,
    Report,
    changed,
    class_label,
    comma_rows,
    named_rows,
    tab_rows,
    text_lines,
)
from script.conversion_check import check_tagged
from script.zh_task.preprocess.squad import convert_squad

JOINT = "\x02"  # between the items of a text and between its tags, as the tagging reader has it
NER_LABELS = {"B-PER": 0, "I-PER": 1, "B-ORG": 2, "I-ORG": 3, "B-LOC": 4, "I-LOC": 5, "O": 6}
XNLI_LABELS = {"contradiction": 0, "entailment": 1, "neutral": 2}
TOPICS = ("体育", "财经", "房产", "家居", "教育", "科技", "时尚", "时政", "游戏", "娱乐")  # of the ten-class split
BINARY = {"0": 0, "1": 1}
OPENCC = "OpenCC>=1.1.9,<2"  # as in requirements.txt


def _plain(stem):
    return {
        f"{split}.tsv": (f"{split}.txt", f"{split}.tsv", f"{stem}_{split}.txt") for split in ("train", "dev", "test")
    }


def _json(stem):
    return {
        f"{split}.json": (f"{stem}_{old}.json", f"{split}.json")
        for split, old in (("train", "train"), ("dev", "dev"), ("test", "test"))
    }


def write_label_map(folder, labels):
    """label_map.json of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_text(folder / "label_map.json") as file:
        json.dump(labels, file, ensure_ascii=False, indent=0)
        file.write("\n")


def checked(rows, label):
    """The rows, their last field a known label that stays as it stands."""
    return changed(
        rows, lambda fields: [*fields[:-1], fields[-1] if fields[-1] in label else class_label(label)(fields[-1])]
    )


def pairs(report, source, target):
    """LCQMC: two sentences and 0 or 1; without a header, and the header of later copies is passed over."""
    rows = tab_rows(source, 3)
    rows = (
        row
        for row in rows
        if row[0] > 1 or row[1] not in (["text_a", "text_b", "label"], ["sentence1", "sentence2", "label"])
    )
    report.convert(source, target, ("text_a", "text_b", "label"), checked(rows, BINARY))


def comma_pairs(report, source, target):
    """BQ Corpus: CSV with the header sentence1,sentence2,label."""
    rows = named_rows(source, ("sentence1", "sentence2", "label"), comma_rows(source))
    report.convert(source, target, ("text_a", "text_b", "label"), checked(rows, BINARY))


def titles(report, source, target):
    """TNEWS: a title and the name of its class; without a header; labels.txt lists the names."""
    names = source.parent / "labels.txt"
    if not names.is_file():
        raise UserError(f"{names}: not there; it lists the classes of {source}, a name a line")
    labels = {str(line): number for number, (_, line) in enumerate(text_lines(names)) if line}
    write_label_map(target.parent, labels)
    rows = checked(tab_rows(source, 2), labels)
    report.convert(source, target, ("text_a", "label"), rows, labels=LabelRule("class", labels))


def reviews(report, source, target):
    """ChnSentiCorp: label and text_a with a header, as the reader takes it; checked all the same."""
    rows = named_rows(source, ("text_a", "label"))
    report.convert(source, target, ("text_a", "label"), checked(rows, BINARY))


def tags(report, source, target):
    """MSRA-NER: a character and its tag a line, perhaps with columns between, a blank line after each sentence."""
    write_label_map(target.parent, NER_LABELS)
    found = list(tagged_text.sentences(source))
    command = f"python script/convert_tagged.py {shlex.quote(str(source))} {shlex.quote(str(target))}"
    if tagged_text.numbered(found):
        raise UserError(
            f"{source}: its characters have numbers after them ({found[0].tokens[0]}), which MSRA-NER has not; "
            f"{command} --strip_numbers true takes them off"
        )
    if not any(set(each.tags) <= set(NER_LABELS) for each in found if not each.problem):
        odd = next((tag for each in found for tag in each.tags if tag not in NER_LABELS), None)
        raise UserError(f"{source}: its tags are not those of MSRA-NER ({odd!r}); any tag set is taken by {command}")
    report.convert(
        source, target, ("text_a", "label"), _sentences(found), check=lambda path: check_tagged(path, NER_LABELS, "IOB")
    )


def _sentences(found):
    """(first line, [items, tags] or Refused) of each sentence."""
    for line, items, given, problem in found:
        odd = next((tag for tag in given if tag not in NER_LABELS), None)
        if problem is None and odd is not None:
            problem = Refused(f"unknown tag {odd[:20]!r}")
        yield line, problem or [JOINT.join(items), JOINT.join(given)]


def entailment(report, source, target):
    """XNLI: rows of language zh (dev, test), or the translated MultiNLI (train), whose words are parted by blanks."""
    write_label_map(target.parent, XNLI_LABELS)
    words = {**{word: word for word in XNLI_LABELS}, "contradictory": "contradiction"}

    def labelled(fields):
        return [*fields[:2], words.get(fields[2]) or Refused(f"unknown label {fields[2][:20]!r}")]

    def chinese(fields):
        return fields[1:] if fields[0] == "zh" else Refused("another language than zh")

    if target.name == "train.tsv":
        rows = named_rows(source, ("premise", "hypo", "label"))
    else:
        rows = changed(named_rows(source, ("language", "sentence1", "sentence2", "gold_label")), chinese)
    rule = LabelRule("class", XNLI_LABELS)
    report.convert(source, target, ("text_a", "text_b", "label"), changed(rows, labelled), labels=rule)


def answers(report, source, target):
    """NLPCC2016-DBQA: question, candidate answer and, where it has one, 0 or 1; rows of a question stand together."""
    rows = tab_rows(source)
    labelled = len(next(tab_rows(source), (1, []))[1]) == 3
    report.convert(
        source,
        target,
        ("qid", "text_a", "text_b", *(["label"] if labelled else [])),
        _numbered(rows, 3 if labelled else 2),
        complete=not labelled,
    )


def _numbered(rows, width):
    question, number = None, -1
    for line, fields in rows:
        if not isinstance(fields, Refused) and len(fields) != width:
            fields = Refused(f"{len(fields)} fields where there should be {width}")
        if not isinstance(fields, Refused):
            if fields[0] != question:
                question, number = fields[0], number + 1
            fields = [str(number), *fields]
            if width == 3:
                fields = next(checked([(line, fields)], BINARY))[1]
        yield line, fields


def topics(report, source, target):
    """THUCNews, the ten-class split: the topic and the text."""
    classes = {word: number for number, word in enumerate(TOPICS)}
    write_label_map(target.parent, classes)
    rows = changed(tab_rows(source, 2), lambda fields: [fields[1], class_label(classes)(fields[0])])
    report.convert(source, target, ("text_a", "label"), rows)


def reading(report, source, target):
    """CMRC2018 in either of its layouts, DuReader in SQuAD's."""
    convert_squad(report, source, target)


def reading_traditional(report, source, target):
    """DRCD, from traditional to simplified characters."""
    convert_squad(report, source, target, simplify())


def simplify():
    """A function: Taiwan's traditional text -> simplified, by OpenCC.

    ``tw2s``, since ``t2s`` leaves 著 where Taiwan writes it for 着, as in 隨著.

    Raises:
        UserError: OpenCC is not installed, or another package answers for it.
    """
    try:
        from opencc import OpenCC
    except ImportError:
        raise UserError(
            f"DRCD is made simplified by OpenCC: install it with python -m pip install '{OPENCC}'"
        ) from None
    convert = OpenCC("tw2s").convert
    if convert("抬頭") != "抬头":  # the rewriting in Python gives 擡头
        raise UserError(
            "import opencc finds another package than OpenCC, opencc-python-reimplemented most likely, which makes 擡 "
            "of 抬: run python -m pip uninstall -y opencc-python-reimplemented, then python -m pip install "
            f"--force-reinstall --no-deps '{OPENCC}'"
        )
    return convert


# folder -> (function, {file made: names it may have in RAW_DIR/folder}).
FILES = {
    "lcqmc": (pairs, _plain("LCQMC")),
    "bq": (comma_pairs, {f"{split}.tsv": (f"{split}.csv", f"BQ_{split}.csv") for split in ("train", "dev", "test")}),
    "tnews": (titles, _plain("tnews")),
    "chnsenticorp": (reviews, _plain("chnsenticorp")),
    "msra_ner": (
        tags,
        {
            f"{split}.tsv": (f"{split}.txt", f"msra_{split}_bio.txt", f"{split}.bio")
            for split in ("train", "dev", "test")
        },
    ),
    "xnli": (
        entailment,
        {"train.tsv": ("multinli.train.zh.tsv",), "dev.tsv": ("xnli.dev.tsv",), "test.tsv": ("xnli.test.tsv",)},
    ),
    "nlpcc-dbqa": (
        answers,
        {
            "train.tsv": ("nlpcc-iccpol-2016.dbqa.training-data", "train.txt"),
            "dev.tsv": ("nlpcc-iccpol-2016.dbqa.dev-data", "dev.txt"),
            "test.tsv": ("nlpcc-iccpol-2016.dbqa.testing-data", "test.txt"),
        },
    ),
    "thuc": (
        topics,
        {
            f"{split}.tsv": (f"cnews.{old}.txt",)
            for split, old in (("train", "train"), ("dev", "val"), ("test", "test"))
        },
    ),
    "cmrc2018": (reading, _json("cmrc2018")),
    "drcd": (
        reading_traditional,
        {
            f"{split}.json": (f"DRCD_{old}.json",)
            for split, old in (("train", "training"), ("dev", "dev"), ("test", "test"))
        },
    ),
    "dureader": (reading, {f"{split}.json": (f"{split}.json",) for split in ("train", "dev", "test")}),
}


def main(argv):
    """Convert what is there; returns the exit status."""
    allowed = ALLOW_REFUSED in argv
    raw, out = (Path(word) for word in argv if word != ALLOW_REFUSED)
    if not raw.is_dir():
        raise UserError(f"{raw}: no such folder; name the one that holds {', '.join(FILES)}")
    report = Report(allowed)
    for folder, (convert, files) in FILES.items():
        if not (raw / folder).is_dir():
            report.missing(raw / folder)
            continue
        for name, sources in files.items():
            found = [raw / folder / source for source in sources if (raw / folder / source).is_file()]
            if found:
                with report.file(found[0]):
                    convert(report, found[0], out / folder / name)
            else:
                report.missing(raw / folder / sources[0])
    return report.finish(raw)


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
