"""python -m finetune.search build: texts of a file -> vectors -> an index.

start(argv)
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from finetune.search.args import GRAPH_FROM, BuildFlags, parse_build
from finetune.search.index import EXACT, HNSW, INSTALL, load_faiss, new_index
from finetune.search.model import identity
from propeller import log as log_setup
from propeller import runtime
from propeller.errors import UserError
from propeller.service.engines import AUTO
from reader.row_encoder import empty
from reader.row_file import RowFile
from reader.tables.form import PLAIN, SKIP, TableForm
from reader.tables.opening import open_table

log = logging.getLogger("ernie.finetune")

CHUNK = 1024  # texts whose vectors are made together
TELL_EVERY = 30.0  # seconds between lines of the log


def start(argv: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    flags, tables = parse_build(argv)
    log_setup.setup(None, bar=False)
    build(flags, replace(tables.form(), others=SKIP))
    return 0


def build(flags: BuildFlags, form: TableForm = PLAIN) -> Path:
    """Build an index; returns its folder.

    Args:
        flags: what it is made of.
        form: how the file of texts is stored.

    Raises:
        UserError: a text is empty or cannot be read (file and line), the model gives no vectors or not of that pooling,
            faiss is asked for and not installed, or the folder exists already.
    """
    if os.path.lexists(flags.search_index) and not flags.overwrite:
        raise UserError(f"{flags.search_index}: exists already; give another --search_index, or --overwrite")
    table = open_table(flags.data_set, form=dataclasses.replace(form, others=SKIP))
    kind = kind_of(flags.kind, table.num_rows)
    for _ in texts_of(table):  # every row is read before the first vector is made
        pass
    runtime.prepare()
    from finetune.api import load

    begun = told = time.monotonic()
    with load(flags.model, task="embed", use_cuda=flags.use_cuda, engine=flags.engine) as model:
        known = identity(model.describe(), flags.pooling)
        try:
            size = model.embed(["."], pooling=flags.pooling).shape[1]
        except ValueError as error:  # it has no such pooling
            raise UserError(f"{flags.model}: {error}") from None
        with new_index(flags.search_index, table.num_rows, size, flags.overwrite) as new:
            for texts in _chunks(texts_of(table)):
                new.add(texts, model.embed(texts, pooling=flags.pooling, batch_size=flags.batch_size))
                if time.monotonic() - told > TELL_EVERY:
                    told = time.monotonic()
                    log.info("%d of %d texts", len(new.ends), table.num_rows)
            facts = {
                "model": known,
                "model_path": str(Path(flags.model).absolute()),
                "data": {"path": str(Path(flags.data_set).absolute()), "sha256": table.sha256, "rows": table.num_rows},
            }
            new.finish(kind, facts, flags.links, flags.build_effort)
    log.info("wrote %s: %d texts, vectors of %d numbers, pooling %s, kind %s, in %.1f s",
             flags.search_index, table.num_rows, size, known["pooling"], kind, time.monotonic() - begun)  # fmt: skip
    return Path(flags.search_index)


def kind_of(asked: str, rows: int) -> str:
    """``exact`` or ``hnsw``. Raises UserError: the second is asked for, and faiss is not installed."""
    there = load_faiss() is not None
    if asked == HNSW and not there:
        raise UserError(f"--kind {HNSW} needs faiss: {INSTALL}, or give --kind {EXACT}")
    if asked != AUTO:
        return asked
    if rows >= GRAPH_FROM and not there:
        log.warning("%d texts are compared one by one: for a graph of neighbours %s", rows, INSTALL)
    return HNSW if there and rows >= GRAPH_FROM else EXACT


def texts_of(table: RowFile) -> Iterator[str]:
    """The column text_a, row by row. Raises UserError: a text is empty or a row cannot be read, file and line."""
    place = table.columns.index("text_a")
    for number, record in table.records():
        try:
            text = table.layout.fields(record)[place]
            if not text.strip():
                raise ValueError(empty(table.layout.name_of("text_a"), "its text"))
        except ValueError as problem:
            raise UserError(f"{table.layout.where(number)}: {problem}") from None
        yield text


def _chunks(texts):
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
