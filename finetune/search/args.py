"""The flags of python -m finetune.search, a dataclass for each command.

flags, tables = parse_build(argv)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from finetune.embedding.pooled import CHOICES
from finetune.search.index import EXACT, HNSW, KINDS
from finetune.tables import TableFlags
from propeller.errors import UserError
from propeller.flags import DEVICE, FlagParser, add_flags, check_least, flag, from_values, read_flags
from propeller.service.engines import AUTO, ENGINE_HELP, ENGINES

GRAPH_FROM = 50_000  # texts from which ``auto`` makes a graph; fewer are compared in milliseconds
MOST = 1000  # texts that a question may ask for


@dataclass(frozen=True)
class BuildFlags:
    """index: what it holds, and how it is searched"""

    model: str = flag(None, "an encoder, a checkpoint of any task, or an inference model of embeddings", required=True)
    data_set: str = flag(None, "the texts, a row each; only text_a is read", required=True)
    search_index: str = flag(None, "the new index, a directory", required=True)
    overwrite: bool = flag(False, "replace an index that is there", bare=True)
    pooling: str | None = flag(None, "as of ernie_encoder.py [as the model says]", choices=CHOICES)
    kind: str = flag(
        AUTO,
        f"exact: compare with every text; hnsw: a graph of neighbours, by faiss; auto: hnsw from {GRAPH_FROM} texts on "
        "if faiss is installed",
        choices=(AUTO, *KINDS),
    )
    links: int = flag(32, "of kind hnsw: neighbours that a text is linked to")
    build_effort: int = flag(200, "of kind hnsw: texts that are looked at to find them")
    batch_size: int = flag(32, "texts per batch")
    engine: str = flag(AUTO, ENGINE_HELP.removesuffix(" [auto]"), choices=ENGINES)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)


@dataclass(frozen=True)
class QueryFlags:
    """search: where, and how much is shown"""

    search_index: str = flag(None, "the index", required=True)
    model: str | None = flag(None, "the model that built it, if it was moved [where it was]")
    query_set: str | None = flag(None, "questions, a row each; only text_a is read")
    output: str | None = flag(None, "write a TSV of question, rank, score, row and text instead of printing")
    top: int = flag(5, "texts for each question")
    effort: int = flag(64, "of kind hnsw: texts that are looked at; more find more of the nearest")
    batch_size: int = flag(32, "questions per batch")
    engine: str = flag(AUTO, ENGINE_HELP.removesuffix(" [auto]"), choices=ENGINES)
    use_cuda: str = flag("auto", "true, false, or auto: a GPU if there is one", **DEVICE)


class QueryArgs(NamedTuple):
    """The flags of a query, and the questions of the command line."""

    flags: QueryFlags
    tables: TableFlags
    questions: list[str]


def parse_build(argv: Sequence[str]) -> tuple[BuildFlags, TableFlags]:
    """The flags of ``build``. Raises UserError: one is wrong, or they do not go together."""
    parser = FlagParser(
        prog="python -m finetune.search build",
        description="Build an index of the vectors of texts.",
        example="--model MODEL --data_set texts.txt --search_index output/index",
        allow_abbrev=False,
    )
    for group in (BuildFlags, TableFlags):
        add_flags(parser, group)
    values = read_flags(parser, argv)
    flags = from_values(BuildFlags, values)
    check_least(flags, batch_size=1, links=2, build_effort=1)
    for name in ("links", "build_effort"):
        if flags.kind == EXACT and getattr(flags, name) != BuildFlags.__dataclass_fields__[name].default:
            raise UserError(f"--{name} is for --kind {HNSW}: give that, or leave --{name} out")
    return flags, from_values(TableFlags, values)


def parse_query(argv: Sequence[str]) -> QueryArgs:
    """The flags of ``query``. Raises UserError: see ``parse_build``."""
    parser = FlagParser(
        prog="python -m finetune.search query",
        description="Show the texts of an index that are nearest to a question.",
        example="--search_index output/index --top 3 'how do I pay?'",
        allow_abbrev=False,
    )
    parser.add_argument("questions", metavar="QUESTION", nargs="*", help="a text, in quotes")
    for group in (QueryFlags, TableFlags):
        add_flags(parser, group)
    values = read_flags(parser, argv)
    flags, questions = from_values(QueryFlags, values), values["questions"]
    check_least(flags, batch_size=1, top=1, effort=1)
    if flags.top > MOST:
        raise UserError(f"--top {flags.top}: give at most {MOST}")
    if bool(questions) == bool(flags.query_set):
        raise UserError("give one question or more, or --query_set: a file of them")
    if flags.output and Path(flags.output).is_dir():
        raise UserError(f"--output {flags.output}: is a directory; name a file in it")
    for number, question in enumerate(questions, 1):
        if not question.strip():
            raise UserError(f"question {number} is empty: give a text")
    return QueryArgs(flags, from_values(TableFlags, values), questions)
