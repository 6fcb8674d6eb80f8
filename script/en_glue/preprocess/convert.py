"""GLUE's download -> TSV files of the readers; script/en_glue/preprocess/cvt.sh runs it.

    python script/en_glue/preprocess/convert.py RAW_DIR glue_data_processed

Fields are parted by tabs and quotes are text. Labels become classes (script/glue_tasks.py has their order). Test sets
get no label column, since they come without labels, and keep their index as `qid`, with which prediction lines begin.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from reader.row_encoder import LabelRule
from script.conversion import ALLOW_REFUSED, Report, changed, class_label, named_rows, number_label, tab_rows
from script.glue_tasks import LABELS


class Task(NamedTuple):
    """A task's columns, as the header of its download names them."""

    text_a: str
    text_b: str | None
    label: str
    index: str = "index"


TASKS = {
    "CoLA": Task("sentence", None, "label"),
    "SST-2": Task("sentence", None, "label"),
    "MRPC": Task("#1 String", "#2 String", "Quality"),
    "STS-B": Task("sentence1", "sentence2", "score"),
    "QQP": Task("question1", "question2", "is_duplicate", "id"),
    "MNLI": Task("sentence1", "sentence2", "gold_label"),
    "QNLI": Task("question", "sentence", "label"),
    "RTE": Task("sentence1", "sentence2", "label"),
    "WNLI": Task("sentence1", "sentence2", "label"),
}
MNLI_FILES = {
    "train.tsv": "train.tsv",
    "dev_matched.tsv": "m/dev.tsv",
    "dev_mismatched.tsv": "mm/dev.tsv",
    "test_matched.tsv": "m/test.tsv",
    "test_mismatched.tsv": "mm/test.tsv",
}
COLA_COLUMNS = ("source", "label", "star", "sentence")  # its train.tsv and dev.tsv have no header
# The diagnostics: where the download script puts them, and where the leaderboard's own archive does.
DIAGNOSTICS = ("diagnostic/diagnostic.tsv", "AX/AX.tsv")


def labelled_rows(path, name):
    """(line, [text_a, (text_b,) label]) of a training or development file."""
    task = TASKS[name]
    columns = [column for column in (task.text_a, task.text_b, task.label) if column]
    if name == "CoLA":
        places = [COLA_COLUMNS.index(column) for column in columns]
        rows = changed(tab_rows(path, len(COLA_COLUMNS)), lambda fields: [fields[place] for place in places])
    else:
        rows = named_rows(path, columns)
    words = LABELS.get(name, ("0", "1"))
    read = number_label if name == "STS-B" else class_label({word: number for number, word in enumerate(words)})
    return changed(rows, lambda fields: [*fields[:-1], read(fields[-1])])


def convert_file(report, source, target, name):
    """One file of one task; its name tells whether it is a test set."""
    task = TASKS[name]
    header = ["text_a", *(["text_b"] if task.text_b else [])]
    if source.name.startswith("test"):
        columns = [column for column in (task.index, task.text_a, task.text_b) if column]
        report.convert(source, target, ["qid", *header], named_rows(source, columns), complete=True)
    else:
        labels = LabelRule("float" if name == "STS-B" else "class")
        report.convert(source, target, [*header, "label"], labelled_rows(source, name), labels=labels)


def main(argv):
    """Convert what is there of the tasks; returns the exit status."""
    allowed = ALLOW_REFUSED in argv
    raw, out = (Path(word) for word in argv if word != ALLOW_REFUSED)
    if not raw.is_dir():
        raise UserError(f"{raw}: no such folder; name the one that GLUE was unpacked into")
    report = Report(allowed)
    for name in TASKS:
        files = MNLI_FILES if name == "MNLI" else {file: file for file in ("train.tsv", "dev.tsv", "test.tsv")}
        for file, target in files.items():
            source = raw / name / file
            if source.is_file():
                with report.file(source):
                    convert_file(report, source, out / name / target, name)
            else:
                report.missing(source)
    found = [raw / path for path in DIAGNOSTICS if (raw / path).is_file()]
    for source in found[:1]:
        with report.file(source):
            rows = named_rows(source, ("index", "sentence1", "sentence2"))
            report.convert(source, out / "MNLI" / "diagnostic.tsv", ["qid", "text_a", "text_b"], rows, complete=True)
    if not found:
        report.missing(raw / DIAGNOSTICS[0])
    return report.finish(raw)


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
