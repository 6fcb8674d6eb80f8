"""Columns of a tab-separated file with a header, chosen by name, without the header: the form of the other examples.

python example/propeller/to_columns.py chnsenticorp/train.tsv text_a label > data/train/part-0
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from propeller.errors import UserError, exit_on_user_error


def main():
    if len(sys.argv) < 3:
        raise UserError("give a file and the names of its columns: to_columns.py FILE text_a label")
    path, names = sys.argv[1], sys.argv[2:]
    try:
        with open(path, encoding="utf8", newline="\n") as file:
            header = next(file, "").rstrip("\r\n").split("\t")
            missing = [name for name in names if name not in header]
            if missing:
                raise UserError(f"{path}, line 1: no column {missing[0]!r}: it has {', '.join(header)}")
            places = [header.index(name) for name in names]
            for number, line in enumerate(file, 2):
                fields = line.rstrip("\r\n").split("\t")
                if len(fields) != len(header):
                    raise UserError(f"{path}, line {number}: {len(fields)} columns, not {len(header)}: correct it")
                print("\t".join(fields[place] for place in places))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a readable file") from error


if __name__ == "__main__":
    exit_on_user_error(main)
