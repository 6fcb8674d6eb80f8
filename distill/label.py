"""A teacher's logits of every row of a TSV, once and for all students.

    python -m distill.label output/teacher/best unlabelled.tsv           # a checkpoint or an inference model
    python -m distill.label http://127.0.0.1:8113 unlabelled.tsv         # or its server

The logits go to ``unlabelled.tsv.teacher`` (see ``distill.soft_labels``), where ``python -m finetune student
--unlabelled_set unlabelled.tsv`` looks for them. A run that was stopped goes on where it was. The teacher reads the
columns ``text_a`` and ``text_b``, or ``teacher_a`` and ``teacher_b`` where the file has them: a student's text may be
segmented. A teacher of tags reads tokens, separated by the byte 0x02 or by blanks, and says something of each.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from distill.questions import questions_of
from distill.rows import open_table
from distill.soft_labels import TAGGING, SoftLabels, folder_of
from finetune.tables import TableFlags
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import exit_on_user_error
from propeller.flags import DEVICE, FlagParser, add_flags, check_least, flag, read_flags

log = logging.getLogger("ernie.distill")

CHUNK = 1024  # rows between two writes: many of one length, and little lost where a run is stopped
TELL_EVERY = 10.0  # seconds


@dataclass(frozen=True)
class LabelArgs(TableFlags):
    """labels: by which means"""

    output: str | None = flag(None, "folder of the logits [FILE.teacher]")
    batch_size: int = flag(32, "rows that the network sees together; of a server its own setting counts")
    precision: str = flag("fp32", "of the matrix products", choices=("fp32", "bf16"))
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)
    retries: int = flag(5, "how often a server that does not answer is asked again")
    overwrite: bool = flag(False, "begin afresh, whatever is in the folder", bare=True)


def label(source: str, path: str, args: LabelArgs) -> SoftLabels:
    """Label the rows that have no logits yet; returns the complete labels.

    Args:
        source: the teacher: a folder or an address.
        path: the file of rows.

    Raises:
        UserError: the teacher, the file or the folder cannot be used.
    """
    import shutil

    from distill.teacher import ModelTeacher, ServerTeacher, open_teacher

    folder = args.output or folder_of(path)
    kinds: dict[bool, dict] = {
        True: {"retries": args.retries},
        False: {"batch_size": args.batch_size, "precision": args.precision, "use_cuda": args.use_cuda},
    }
    is_server = source.startswith(("http://", "https://", "tcp://"))
    with open_teacher(source, **kinds[is_server]) as teacher:
        assert isinstance(teacher, (ModelTeacher, ServerTeacher))
        if args.overwrite:
            shutil.rmtree(folder, ignore_errors=True)
        table = open_table(path, form=args.form().beside(), lists=teacher.facts["task"] in TAGGING)
        questions = questions_of(table, teacher.facts)
        with SoftLabels.open_or_make(folder, table.text_identity, questions.total, teacher.facts, path) as labels:
            missing = questions.rows_with(labels.missing())
            log.info("%s: %d rows, %d of them without logits", path, table.num_rows, len(missing))
            begun = told = time.monotonic()
            for begin in range(0, len(missing), CHUNK):
                numbers = missing[begin : begin + CHUNK]
                labels.put(questions.of_rows(numbers), questions.ask(teacher, numbers))
                now = time.monotonic()
                if now - told > TELL_EVERY:
                    told, done = now, begin + len(numbers)
                    log.info("labelled %d/%d rows, %.1f rows/s", done, len(missing), done / (now - begun))
            labels.finish()
            elapsed = time.monotonic() - begun
    log.info("labelled %d rows in %.2f s, %.1f rows/s: %s", len(missing), elapsed, len(missing) / max(elapsed, 1e-9),
             folder)  # fmt: skip
    return labels


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m distill.label", description=__doc__.split("\n", maxsplit=1)[0], allow_abbrev=False
    )
    parser.add_argument("teacher", metavar="TEACHER", help="a checkpoint, an inference model, or http://host:port")
    parser.add_argument("file", metavar="FILE", help="rows with a column text_a, and text_b if it has one")
    add_flags(parser, LabelArgs)
    values = read_flags(parser, argv)
    source, path = values.pop("teacher"), values.pop("file")
    args = LabelArgs(**values)
    check_least(args, batch_size=1, retries=0)
    log_setup.setup(None, bar=False)
    open_table(path, form=args.form().beside())  # what is wrong with it is told before a model is loaded
    runtime.prepare()
    label(source, path, args)
    log.info("next: python -m finetune student --unlabelled_set %s ...", path)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
