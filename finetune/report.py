"""What a model gets wrong in a labelled file, as a report that a person can act on.

    python -m finetune.report output/sst2/best data/SST-2/dev.tsv --output_dir output/report
    python -m finetune.report output/ner/best dev.jsonl --text_column tokens --label_column ner_tags

Written are report.txt, report.json, wrong.tsv, label_errors.tsv, confusion.png and report.html, which opens without a
server. The task of the model decides what is in them (``FinetuneTask.report``).
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetune import flags_of
from finetune.checks import CheckArgs
from finetune.columns import check_columns
from finetune.pairs import warn_of_pairs
from finetune.tables import LabelledTableFlags
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError, exit_on_user_error
from propeller.flags import DEVICE, FlagParser, add_flags, check_least, flag, from_values, read_flags
from propeller.service.engines import AUTO, ENGINE_HELP, ENGINES

if TYPE_CHECKING:
    from finetune.reporting.parts import Report

log = logging.getLogger("ernie.finetune")


@dataclass(frozen=True)
class ReportArgs:
    """report: where it goes, and how it is computed"""

    output_dir: str = flag("report", "folder of the report")
    overwrite: bool = flag(False, "replace a report that is there", bare=True)
    batch_size: int = flag(32, "rows per batch")
    engine: str = flag(AUTO, ENGINE_HELP.removesuffix(" [auto]"), choices=ENGINES)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)


GROUPS = (ReportArgs, LabelledTableFlags, CheckArgs)


def make_report(
    model: str | Path,
    path: str,
    args: ReportArgs = ReportArgs(),  # noqa: B008 - frozen
    tables: LabelledTableFlags = LabelledTableFlags(),  # noqa: B008 - frozen
    checks: CheckArgs = CheckArgs(),  # noqa: B008 - frozen
) -> Report:
    """The report of a model on a labelled file.

    Args:
        model: a fine-tuned checkpoint or an inference model.
        path: the file.
        args: how it is computed.
        tables: how the file is stored, and which columns count.
        checks: what becomes of bad rows.

    Raises:
        UserError: the model or the file cannot be used; the file has no labels; the task has no report.
    """
    import finetune
    from finetune.checks import check_file
    from finetune.spec import Reading

    check_input(model, path, tables)
    with finetune.load(model, use_cuda=args.use_cuda, engine=args.engine) as predictor:
        opened = predictor.model
        task, spec = opened.task, opened.spec
        if not task.report:
            raise UserError(f"{model}: models of the task {task.name!r} have no report")
        form = tables.form().copying() if flags_of(task.name).has_columns else tables.form()
        if not task.is_labelled(path, spec, form):
            raise UserError(
                f"{path}: there are no labels to compare with (-1, ? and nothing are none): give a labelled file, or "
                "name the column of its labels with --label_column"
            )
        reading = Reading(batch_size=args.batch_size, on_bad=checks.on_bad, form=form)
        reader = task.open_reader(path, opened.tokenizer, spec, reading)
        check_file(reader, checks)
        warn_of_pairs(task.trained_on_pairs(spec.facts), reader, path)
        module, _, name = task.report.partition(":")
        return getattr(importlib.import_module(module), name)(opened, reader, path)


def check_input(model: str | Path, path: str, tables: LabelledTableFlags) -> None:
    """Raise UserError where a file lacks a column that the report needs, before the model is loaded.

    Args:
        model, path, tables: see ``make_report``.
    """
    from finetune.spec import stored_task

    task = stored_task(model)
    if task is not None:
        check_columns(path, tables.form().copying(), task, labelled=True)


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = FlagParser(
        prog="python -m finetune.report",
        description=__doc__.split("\n", maxsplit=1)[0],
        example="output/reviews/best test.csv --text_column review --label_column stars --output_dir output/report",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="a fine-tuned checkpoint or an inference model")
    parser.add_argument("file", metavar="FILE", help="a labelled file, as the task of the model reads it")
    for group in GROUPS:
        add_flags(parser, group)
    values = read_flags(parser, argv)
    args, tables = from_values(ReportArgs, values), from_values(LabelledTableFlags, values)
    checks = from_values(CheckArgs, values)
    check_least(args, batch_size=1)
    check_input(values["model"], values["file"], tables)
    if Path(args.output_dir).exists() and not args.overwrite:
        raise UserError(f"--output_dir {args.output_dir}: exists already: name another folder, or give --overwrite")
    log_setup.setup(None, bar=False)
    runtime.prepare()
    from finetune.reporting.writing import as_text, write_report

    report = make_report(values["model"], values["file"], args, tables, checks)
    names = write_report(report, args.output_dir, args.overwrite)
    print(as_text(report), end="")
    log.info("the report is in the directory %s: %s", args.output_dir, ", ".join(names))
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
