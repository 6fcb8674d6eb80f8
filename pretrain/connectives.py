"""Shortens a list of connectives to those that a build found often enough.

    python -m pretrain.connectives config/connectives_en.json --stats OUT/discourse_relation/stats.json --least 500 \\
        >connectives.json

writes the list without those connectives that a build found less often than that, since every class of a head needs
instances. Then build again with --connectives connectives.json. pretrain/corpus/connective_list.py describes the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pretrain.corpus.connective_list import load, read_connectives
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import FlagParser


def shortened(path: str | Path, stats: str | Path, least: int) -> dict:
    """The content of the list without the connectives that stats.json of a build counts less often.

    Raises:
        UserError: a file is not readable, the statistics are of another list, fewer than two are left.
    """
    names = [entry.name for entry in read_connectives(path).entries]
    try:
        counts = json.loads(Path(stats).read_text(encoding="utf-8"))["classes"]
    except OSError as error:
        raise UserError(f"{stats}: {error.strerror}; give stats.json of a build with discourse_relation") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{stats}: counts no classes; give stats.json of a build with discourse_relation") from error
    if list(counts) != names:
        raise UserError(f"{stats}: was built with other connectives than those of {path}; give that list")
    content = load(path)
    content["connectives"] = [entry for entry in content["connectives"] if counts[entry["connective"]] >= least]
    if len(content["connectives"]) < 2:
        raise UserError(
            f"{stats}: fewer than two connectives have {least} instances; build more text, or lower --least"
        )
    return content


def main(argv: Sequence[str] | None = None) -> None:
    """Print the shorter list; on standard error how many are in it."""
    parser = FlagParser(
        prog="python -m pretrain.connectives", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("connectives", help="the list that the build was made with")
    parser.add_argument("--stats", required=True, help="stats.json of discourse_relation")
    parser.add_argument("--least", type=int, default=100, help="instances that a connective needs (default 100)")
    args = parser.parse_args(argv)
    content = shortened(args.connectives, args.stats, args.least)
    rows = content.pop("connectives")
    head = "".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n " for key, value in content.items())
    listed = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
    print(f'{{{head}"connectives": [\n{listed}\n ]}}')
    print(f'{len(rows)} connectives: "head": {{"classes": {len(rows)}}} in the task list', file=sys.stderr)


if __name__ == "__main__":
    exit_on_user_error(main)
