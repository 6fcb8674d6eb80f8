"""The data of a distillation as our commands read them: TSVs with a header, from 2019's folders or a task's own.

    python distill/script/layout.py $TASK_DATA_PATH/distill/chnsenticorp output/work      # 2019's folders
    python distill/script/layout.py $TASK_DATA_PATH/chnsenticorp output/work              # train.tsv and dev.tsv

Writes ``teacher_train.tsv``, ``teacher_dev.tsv``, ``train.tsv``, ``dev.tsv`` and, from 2019's folders,
``unlabelled.tsv`` (``text_a``, the student's text, and ``teacher_a``, the teacher's) and ``vocab.txt``. Files of 2019
have no header: text and label; of ``student/unsup_train_aug`` the student's and the teacher's text.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text

PARTS = {
    "teacher/train": ("teacher_train.tsv", ("text_a", "label")),
    "teacher/dev": ("teacher_dev.tsv", ("text_a", "label")),
    "student/train": ("train.tsv", ("text_a", "label")),
    "student/dev": ("dev.tsv", ("text_a", "label")),
    "student/unsup_train_aug": ("unlabelled.tsv", ("text_a", "teacher_a")),
}


def rows_of(folder: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The rows of all files in a folder, in the order of their names.

    Raises:
        UserError: no file, no UTF-8, or a line of another number of fields.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: holds no file: put the data there")
    for path in files:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    fields = line.decode("utf8").rstrip("\r\n").split("\t")
                except UnicodeDecodeError:
                    raise UserError(f"{path}, line {number}: not UTF-8: save the file as UTF-8") from None
                if number == 1 and set(fields) & {"text_a", "label"}:
                    raise UserError(
                        f"{path}, line 1: a header, which files of 2019 have not: give train.tsv and dev.tsv in one "
                        "folder instead"
                    )
                if len(fields) != len(columns):
                    raise UserError(f"{path}, line {number}: {len(fields)} fields, not {len(columns)}: mend the row")
                yield fields


def convert(source: Path, out: Path) -> list[str]:
    """Write the files; returns their names.

    Raises:
        UserError: the folder is of neither form; see ``rows_of``.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such directory: it has teacher/ and student/, or train.tsv and dev.tsv")
    out.mkdir(parents=True, exist_ok=True)
    if (source / "train.tsv").is_file() and (source / "dev.tsv").is_file():
        for name in ("train.tsv", "dev.tsv"):
            for target in (name, f"teacher_{name}"):
                shutil.copyfile(source / name, out / target)
        return ["train.tsv", "dev.tsv", "teacher_train.tsv", "teacher_dev.tsv"]
    missing = [part for part in PARTS if not (source / part).is_dir()]
    if missing:
        raise UserError(f"{source}: has neither train.tsv and dev.tsv nor {', '.join(missing)}: put the data there")
    written = []
    for part, (name, columns) in PARTS.items():
        with atomic_text(out / name) as file:
            file.write("\t".join(columns) + "\n")
            for fields in rows_of(source / part, columns):
                file.write("\t".join(fields) + "\n")
        written.append(name)
    vocabulary = source / "student" / "vocab.txt"
    if vocabulary.is_file():
        shutil.copyfile(vocabulary, out / "vocab.txt")
        written.append("vocab.txt")
    return written


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    if len(argv) != 2:
        raise UserError("give the folder of the data and the folder to write to")
    convert(Path(argv[0]), Path(argv[1]))
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
