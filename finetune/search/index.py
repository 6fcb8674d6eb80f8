"""An index of vectors on the disk: written whole or not at all, searched exactly or by a graph of neighbours.

    with new_index("index", rows=1000, dimensions=384) as new:
        new.add(texts, vectors)
        new.finish("exact", facts)
    index = SearchIndex.open("index")
    scores, rows = index.search(vectors, top=5)         # cosines, falling, and numbers of texts
    index.text(rows[0, 0])

A folder has

    index.json      rows, dimensions, kind, the model, the file of the texts; written last
    vectors.npy     float32 [rows, dimensions], of length 1
    texts.bin       the texts, UTF-8, end to end; text_ends.npy says where each ends, int64 [rows]
    index.faiss     of kind hnsw: the graph (Malkov & Yashunin 2018, arXiv 1603.09320), by faiss
    next_same.npy   of kind hnsw, where texts repeat: for each row the next one of the same text, or -1, int64 [rows]

A graph holds every text once. Copies of a vector are linked with each other only, and a search that meets them finds
nothing else: with 1,000 copies among 5,000 vectors faiss 1.15.1 missed the nearest text of every fourth question.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.embedding.files import NpyFile
from propeller.errors import UserError
from propeller.files import atomic_directory

FORMAT = 1
MANIFEST, VECTORS, TEXTS, ENDS, GRAPH = "index.json", "vectors.npy", "texts.bin", "text_ends.npy", "index.faiss"
SAME = "next_same.npy"
EXACT, HNSW = KINDS = ("exact", "hnsw")
BLOCK = 1 << 16  # rows that are compared together
CHUNK = 1 << 14  # rows that enter a graph together
INSTALL = "python -m pip install -r requirements-search.txt"


def load_faiss() -> Any:
    """The module faiss, or None where it is not installed."""
    try:
        return importlib.import_module("faiss")
    except ImportError:
        return None


class NewIndex:
    """An index that is being written, see ``new_index``.

    Args:
        folder: where, for now.
        rows: how many there will be.
        dimensions: numbers of a vector.
    """

    def __init__(self, folder: Path, rows: int, dimensions: int) -> None:
        self.folder, self.rows, self.dimensions = folder, rows, dimensions
        self.vectors = NpyFile(folder / VECTORS, "<f4", [dimensions], rows)
        self.texts = open(folder / TEXTS, "wb")  # noqa: SIM115 - closed by ``close``
        self.ends: list[int] = []

    def add(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Add texts with their vectors, float32 [texts, dimensions], which are made of length 1."""
        self.vectors.write(len(self.ends), unit(vectors))
        for text in texts:
            self.texts.write(text.encode("utf8"))
            self.ends.append(self.texts.tell())

    def finish(self, kind: str, facts: Mapping[str, Any], links: int = 32, effort: int = 200) -> None:
        """All texts were added: make the graph, if there is to be one, and write ``index.json``.

        Args:
            kind: ``exact`` or ``hnsw``.
            facts: what ``index.json`` says besides, JSON-able.
            links: neighbours that a text of the graph is linked to.
            effort: how many are looked at to find them.
        """
        if len(self.ends) != self.rows:
            raise ValueError(f"{len(self.ends)} texts for {self.rows} rows")
        self.vectors.finish(self.rows)
        np.save(self.folder / ENDS, np.array(self.ends, np.int64), allow_pickle=False)
        self.texts.close()
        graph, names = {}, [VECTORS, TEXTS, ENDS]
        if kind == HNSW:
            graph = {"links": links, "effort": effort}
            names += self._make_graph(links, effort)
        sizes = {name: (self.folder / name).stat().st_size for name in names}
        about = {"format": FORMAT, "kind": kind, "rows": self.rows, "dimensions": self.dimensions, **graph, **facts}
        text = json.dumps({**about, "files": sizes}, ensure_ascii=False, indent=1)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf8")

    def _make_graph(self, links, effort):
        """Write the graph of all texts that differ; returns the names of the files."""
        faiss = load_faiss()
        graph = faiss.IndexHNSWFlat(self.dimensions, links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = effort
        vectors = np.load(self.folder / VECTORS, mmap_mode="r", allow_pickle=False)
        first, following = self._same()
        numbered = faiss.IndexIDMap(graph)
        for begin in range(0, len(first), CHUNK):
            rows = first[begin : begin + CHUNK]
            numbered.add_with_ids(np.ascontiguousarray(vectors[rows]), rows)
        if len(first) == self.rows:
            faiss.write_index(graph, str(self.folder / GRAPH))
            return [GRAPH]
        faiss.write_index(numbered, str(self.folder / GRAPH))
        np.save(self.folder / SAME, following, allow_pickle=False)
        return [GRAPH, SAME]

    def _same(self):
        """(the first row of each text, for every row the next one with its text, or -1), int64."""
        last: dict[bytes, int] = {}
        first: list[int] = []
        following = np.full(self.rows, -1, np.int64)
        with open(self.folder / TEXTS, "rb") as file:
            for row, (begin, end) in enumerate(zip([0, *self.ends], self.ends)):
                key = hashlib.blake2b(file.read(end - begin), digest_size=16).digest()
                if key in last:
                    following[last[key]] = row
                else:
                    first.append(row)
                last[key] = row
        return np.array(first, np.int64), following

    def close(self) -> None:
        """Close the files; safe to call again."""
        self.vectors.close()
        self.texts.close()


@contextlib.contextmanager
def new_index(folder: str | Path, rows: int, dimensions: int, overwrite: bool = False) -> Iterator[NewIndex]:
    """Give an index to write, which appears in ``folder`` when the block ends well.

    Raises:
        UserError: the folder is there and ``overwrite`` is false; it cannot be written, or the disk is full.
    """
    try:
        with atomic_directory(folder, overwrite) as temporary:
            with contextlib.closing(NewIndex(temporary, rows, dimensions)) as made:
                yield made
    except OSError as error:
        what = error.strerror or error
        raise UserError(f"{folder}: cannot be written ({what}): make room there or choose another place") from error


class SearchIndex:
    """An index that is searched; several threads may do so.

    Args:
        folder: where it is.
        about: content of ``index.json``.

    Attributes:
        rows, dimensions, kind: see the module.
        model: what the vectors were made by, see ``finetune.search.model.identity``.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)
        self.rows, self.dimensions, self.kind = about["rows"], about["dimensions"], about["kind"]
        self.model: dict[str, Any] = about["model"]
        self.vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        self.ends = np.load(folder / ENDS, mmap_mode="r", allow_pickle=False)
        self.graph: Any = None
        self.following: Any = None  # see next_same.npy
        if self.kind == HNSW:
            faiss = load_faiss()
            if faiss is None:
                raise UserError(
                    f"{folder}: is an index of kind {HNSW}, which needs faiss: {INSTALL}, or build it with "
                    f"--kind {EXACT}"
                )
            self.graph = faiss.read_index(str(folder / GRAPH))
            if SAME in about["files"]:
                self.following = np.load(folder / SAME, mmap_mode="r", allow_pickle=False)

    @classmethod
    def open(cls, folder: str | Path) -> SearchIndex:
        """Open what ``NewIndex`` wrote.

        Raises:
            UserError: it is not there, of another version, or damaged; it needs faiss, which is not installed.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise UserError(f"{folder}: holds no {MANIFEST}: build the index with python -m finetune.search build")
        try:
            about = json.loads(path.read_text(encoding="utf8"))
            if about["format"] != FORMAT:
                raise UserError(
                    f"{folder}: is an index of format {about['format']}, and {FORMAT} is known here: build it again"
                )
            for name, size in about["files"].items():
                if (folder / name).stat().st_size != size:
                    raise ValueError(f"{name} has another size")
            found = cls(folder, about)
            if found.vectors.shape != (found.rows, found.dimensions) or len(found.ends) != found.rows:
                raise ValueError("arrays of another shape")
            if found.following is not None and found.following.shape != (found.rows,):
                raise ValueError(f"{SAME} of another shape")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise UserError(f"{folder}: the index is damaged ({error}): build it again") from None
        return found

    def search(self, vectors: np.ndarray, top: int, effort: int = 64) -> tuple[np.ndarray, np.ndarray]:
        """The nearest texts.

        Args:
            vectors: float32 [questions, dimensions].
            top: how many for each.
            effort: in a graph, how many are looked at: more find nearly all, and take longer.

        Returns:
            (cosines float32 [questions, found], falling; numbers of texts int64 [questions, found], of equal ones the
            first first). ``found`` is ``top``, or the number of texts where there are fewer. A graph may find fewer:
            then the numbers at the end are -1.
        """
        vectors, top = unit(vectors), min(top, self.rows)
        if self.graph is None:
            return self._compare(vectors, top)
        settings = load_faiss().SearchParametersHNSW(efSearch=max(effort, top))
        if self.following is None:
            scores, rows = self.graph.search(vectors, top, params=settings)
            return _in_order(scores, rows.astype(np.int64), top)
        scores, rows = self.graph.search(vectors, min(top, self.graph.ntotal), params=settings)
        return self._with_same(scores, rows, top)

    def _with_same(self, scores, rows, top):
        """What a graph found of texts that differ, with the rows that have the same text."""
        all_scores = np.full((len(rows), top), np.finfo(np.float32).min, np.float32)
        all_rows = np.full((len(rows), top), -1, np.int64)
        for question, found in enumerate(rows.tolist()):
            place = 0
            for score, row in zip(scores[question], found):
                while row >= 0 and place < top:
                    all_scores[question, place], all_rows[question, place] = score, row
                    row, place = int(self.following[row]), place + 1
        return _in_order(all_scores, all_rows, top)

    def _compare(self, vectors, top):
        """Compare with every text, a block of them at a time."""
        scores, rows = np.zeros((len(vectors), 0), np.float32), np.zeros((len(vectors), 0), np.int64)
        for begin in range(0, self.rows, BLOCK):
            found = vectors @ self.vectors[begin : begin + BLOCK].T
            numbers = np.broadcast_to(np.arange(begin, begin + found.shape[1]), found.shape)
            if found.shape[1] > top:
                # All that equal the last one of the top stay for now: numpy would pick any of them.
                kept = found >= np.partition(found, found.shape[1] - top, axis=1)[:, -top, None]
                order = np.argsort(~kept, axis=1, kind="stable")[:, : int(kept.sum(axis=1).max())]
                numbers, found = np.take_along_axis(numbers, order, axis=1), np.take_along_axis(found, order, axis=1)
            scores, rows = _in_order(np.hstack([scores, found]), np.hstack([rows, numbers]), top)
        return scores, rows

    def text(self, row: int) -> str:
        """The text of a number, from 0."""
        begin = int(self.ends[row - 1]) if row else 0
        with open(self.folder / TEXTS, "rb") as file:
            file.seek(begin)
            return file.read(int(self.ends[row]) - begin).decode("utf8")

    def results(self, vectors: np.ndarray, top: int, effort: int = 64) -> list[list[dict[str, Any]]]:
        """For each question the nearest texts: ``text``, ``score``, the cosine, and ``row``, its number from 1."""
        return [
            [
                {"text": self.text(row), "score": min(score, 1.0), "row": row + 1}
                for score, row in zip(scores.tolist(), rows.tolist())
                if row >= 0
            ]
            for scores, rows in zip(*self.search(vectors, top, effort))
        ]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float32 [rows, dimensions], contiguous."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def _in_order(scores, rows, top):
    """The ``top`` of each line: by falling score, then by rising number."""
    order = np.lexsort((rows, -scores), axis=1)[:, :top]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
