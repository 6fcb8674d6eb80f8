"""C3 (Sun et al. 2020, arXiv 1904.09679) as distributed -> rows with options for multiple choice.

    python script/zh_task/preprocess/c3.py RAW_DIR OUT_DIR

Reads d-train.json and m-train.json (dialogues and mixed texts; c3- may stand before the names), dev and test likewise,
and writes train.jsonl, dev.jsonl, test.jsonl with text_a (the text), text_b (the question), choices and label, the
number of the right one. Files without answers get no label.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text

SPLITS = ("train", "dev", "test")
KINDS = ("d", "m")


def rows_of(path: Path) -> list[dict]:
    """The questions of a file. Raises UserError: it is of another form; the text is numbered from 1."""
    try:
        texts = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON in UTF-8 ({error}); give the file as distributed") from None
    rows = []
    for number, entry in enumerate(texts if isinstance(texts, list) else [], 1):
        try:
            lines, questions, _ = entry
            for question in questions:
                row = {"text_a": "".join(lines), "text_b": question["question"], "choices": question["choice"]}
                if question.get("answer"):
                    row["label"] = question["choice"].index(question["answer"])
                rows.append(row)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}, text {number}: not a text with questions ({error}); correct it") from None
    if not rows:
        raise UserError(f"{path}: there is no question; give the file as distributed")
    return rows


def main(argv: list[str]) -> int:
    """The command; returns its exit status."""
    if len(argv) != 2:
        raise UserError("usage: python script/zh_task/preprocess/c3.py RAW_DIR OUT_DIR")
    source, target = map(Path, argv)
    target.mkdir(parents=True, exist_ok=True)
    written = 0
    for split in SPLITS:
        names = [f"{before}{kind}-{split}.json" for kind in KINDS for before in ("", "c3-")]
        rows = [row for name in names if (source / name).is_file() for row in rows_of(source / name)]
        labelled = [row for row in rows if "label" in row]
        if labelled and len(labelled) < len(rows):
            raise UserError(f"{source}: {len(rows) - len(labelled)} questions of {split} have no answer: take them out")
        if rows:
            with atomic_text(target / f"{split}.jsonl") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            print(f"{target / split}.jsonl: {len(rows)} questions")
            written += 1
    if not written:
        raise UserError(f"{source}: none of {KINDS[0]}-train.json and the others is there; name the folder of them")
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
