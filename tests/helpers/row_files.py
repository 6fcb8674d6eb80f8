"""The same rows in every form of file."""

import csv
import json

import pytest

from tests.helpers.tiny import write_tsv

FORMS = ("csv", "jsonl", "json", "parquet")


def write_as(path, rows, header=("label", "text_a")):
    """Write rows of values under a header as the path's ending says; returns the path as a string."""
    objects = [dict(zip(header, row)) for row in rows]
    kind = path.suffix[1:]
    if kind == "tsv":
        return write_tsv(path, rows, header)
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(objects), path, row_group_size=7)
        return str(path)
    with open(path, "w", encoding="utf8", newline="") as file:
        if kind == "csv":
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
        elif kind == "json":
            json.dump(objects, file, ensure_ascii=False, indent=1)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in objects)
    return str(path)


def write_lines(path, lines):
    """Write lines; returns the path as a string."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf8")
    return str(path)
