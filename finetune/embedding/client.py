"""The client of 2019: texts are cut into tokens here and go to a server as arrays; a vector or states come back.

    python -m finetune.embedding.client -i rows.tsv -o vectors.npy --vocab_file MODEL/vocab.txt --host localhost -p 8888

    client = ErnieClient("MODEL/vocab.txt", host="localhost", port=8888)
    client(["a lovely film"], ["it was great"])        # [rows, hidden]; [rows, tokens, hidden] of --encode_layer layerN

The server is ``python -m finetune.embedding.server``, or ``propeller.tools.start_server`` with any model of texts.
``finetune.client.ErnieClient`` needs no vocabulary: it sends the texts as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from propeller.errors import UserError, exit_on_user_error
from propeller.files import atomic_bytes
from propeller.flags import FlagParser, read_flags
from propeller.service.client import InferenceClient, ServerError
from reader.batching import EncodedRows, encode_rows, make_batch
from tokenization import build_tokenizer

PORT = 8888


class ErnieClient:
    """Texts to a server and arrays back, called as in 2019.

    Args:
        vocab_file: the vocabulary of the served model.
        host, port: the server's address.
        batch_size: rows of one request.
        num_coroutine: requests under way at a time.
        timeout: seconds to wait for an answer.
        max_seqlen: longest row in tokens; what is longer is cut.
        token: the server's bearer token, or None.

    Raises:
        UserError: the vocabulary cannot be read, or on use: it is not that of the served model.
    """

    def __init__(
        self,
        vocab_file: str,
        host: str = "localhost",
        port: int = PORT,
        batch_size: int = 32,
        num_coroutine: int = 1,
        timeout: float = 10.0,
        max_seqlen: int = 128,
        token: str | None = None,
    ) -> None:
        if max_seqlen < 3:
            raise ValueError(f"max_seqlen must be at least 3, not {max_seqlen}")
        self.vocab_file, self.max_seqlen = vocab_file, max_seqlen
        self._client = InferenceClient(f"{host}:{port}", batch_size, num_coroutine, timeout, token)
        self._tokenizer: Any = None

    def __enter__(self) -> ErnieClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the served model, made from the vocabulary here."""
        if self._tokenizer is None:
            said = self._client.info["model"].get("tokenizer") or {}
            name, lower_case = said.get("name", "FullTokenizer"), said.get("do_lower_case", True)
            tokenizer = build_tokenizer(name, self.vocab_file, lower_case, said.get("for_cn", False))
            if said and tokenizer.fingerprint != said["fingerprint"]:
                raise UserError(f"{self.vocab_file}: not the vocabulary of the served model: give that one")
            self._tokenizer = tokenizer
        return self._tokenizer

    def encode(self, text_a: Sequence[str], text_b: Sequence[str] | None = None) -> EncodedRows:
        """The rows of ids, special tokens among them; ``cut`` says which texts were too long.

        Raises:
            ValueError: no texts, or not as many second ones.
        """
        if isinstance(text_a, str) or len(text_a) == 0:
            raise ValueError("give a list of one text or more")
        if text_b is not None and len(text_a) != len(text_b):
            raise ValueError(f"{len(text_a)} texts and {len(text_b)} second texts: give as many")
        first = self.tokenizer.encode_batch(text_a)
        second = None if text_b is None else self.tokenizer.encode_batch(text_b)
        return encode_rows(first, second, self.max_seqlen, self.tokenizer.cls_id, self.tokenizer.sep_id)

    def __call__(self, text_a: Sequence[str], text_b: Sequence[str] | None = None) -> np.ndarray:
        """The model's main output for each text or pair.

        Args:
            text_a: list of str.
            text_b: as many second texts, or None.

        Returns:
            array, first axis the texts in their order: vectors [rows, hidden], states [rows, longest, hidden] with 0
            after a row's last token, or what else the served model gives, such as probabilities [rows, labels].

        Raises:
            ValueError: see ``encode``.
            ServerError: a RuntimeError; the server refused, or did not answer.
        """
        return self.run(self.encode(text_a, text_b))

    def run(self, rows: EncodedRows) -> np.ndarray:
        """The main output of encoded rows, see ``__call__``; rows of like length share a request."""
        order = np.argsort(-rows.lengths, kind="stable")
        parts = np.split(order, range(self._client.batch_size, len(order), self._client.batch_size))
        with ThreadPoolExecutor(self._client.num_coroutine, thread_name_prefix="ernie-client") as threads:
            answers = list(threads.map(lambda part: self._ask(rows.take(part)), parts))
        shape = np.max([answer.shape[1:] for answer in answers], axis=0)
        result = np.zeros((len(order), *shape), answers[0].dtype)
        for part, answer in zip(parts, answers):
            place: tuple[Any, ...] = (part, *(slice(size) for size in answer.shape[1:]))
            result[place] = answer
        return result

    def _ask(self, rows):
        model = self._client.info
        batch = make_batch(rows, self.tokenizer.pad_id, model["model"].get("task_id", 0))
        names = [entry["name"] for entry in model["inputs"]]
        unknown = [name for name in names if name not in batch]
        if unknown:
            raise UserError(
                f"{self._client.host}: the model takes {unknown[0]}, which texts do not give: serve another"
            )
        return self._client(*(batch[name] for name in names))[0]


def read_texts(path: str) -> tuple[list[str], list[str] | None]:
    """The texts of a TSV file: one or two columns, or a header that names ``text_a`` and ``text_b`` among others.

    Args:
        path: UTF-8 text, one row a line.

    Returns:
        (first texts, second texts or None).

    Raises:
        UserError: it cannot be read, has no rows, or a row has no text or another number of columns.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [line.rstrip("\r") for line in file.read().split("\n")]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give a TSV file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from error
    if lines[-1] == "":
        lines.pop()
    table = [line.split("\t") for line in lines]
    header = table[0] if table and "text_a" in table[0] else None
    first = 1 if header else 0
    if len(table) <= first:
        raise UserError(f"{path}: no rows: give a text a line, or two with a tab between")
    width = len(table[0])
    if not header and width > 2:
        raise UserError(f"{path}, line 1: {width} columns: give one or two, or a header that names text_a and text_b")
    for number, row in enumerate(table[first:], first + 1):
        if len(row) != width:
            raise UserError(f"{path}, line {number}: {len(row)} columns, the first line has {width}: give as many")
        if not row[header.index("text_a") if header else 0].strip():
            raise UserError(f"{path}, line {number}: the text is empty: put it there or remove the row")
    places = [header.index(name) for name in ("text_a", "text_b") if name in header] if header else range(width)
    columns = [[row[place] for row in table[first:]] for place in places]
    return columns[0], columns[1] if len(columns) > 1 else None


def build_parser() -> FlagParser:
    """The flags of the command."""
    parser = FlagParser(
        prog="python -m finetune.embedding.client",
        description="Write what a server makes of the rows of a TSV file as one array, a .npy file.",
        example=f"-i rows.tsv -o output/vectors.npy --vocab_file MODEL/vocab.txt -p {PORT}",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-i", "--input", metavar="TSV", required=True, help="a text a line, or two with a tab between; a header may be")
    add("-o", "--output", metavar="NPY", required=True, help="the array, float32 [rows, hidden] of a pooled layer")
    add("--vocab_file", metavar="PATH", required=True, help="vocab.txt of the served model")
    add("--host", default="localhost", help="the server's machine [localhost]")
    add("-p", "--port", metavar="N", type=int, default=PORT, help=f"its port [{PORT}]")
    add("--batch_size", metavar="N", type=int, default=32, help="rows of one request [32]")
    add("--num_coroutine", metavar="N", type=int, default=1, help="requests under way at a time [1]")
    add("--timeout", metavar="SECONDS", type=float, default=10.0, help="how long to wait for an answer [10]")
    add("--max_seqlen", metavar="N", type=int, default=128, help="longest row in tokens; what is longer is cut [128]")
    add("--token", help="the server's bearer token")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    flags = read_flags(build_parser(), argv)
    source, target = flags.pop("input"), flags.pop("output")
    text_a, text_b = read_texts(source)
    try:
        with ErnieClient(**flags) as client:
            rows = client.encode(text_a, text_b)
            array = client.run(rows)
    except ServerError as error:
        raise UserError(f"{error}: is python -m finetune.embedding.server at --host and -p?") from error
    except UserError:
        raise
    except ValueError as error:  # a number that a client cannot work with
        raise UserError(str(error)) from error
    with atomic_bytes(target) as file:
        np.save(file, array, allow_pickle=False)
    if rows.cut.any():
        print(
            f"{rows.cut.sum()} of {len(rows)} rows were longer than --max_seqlen tokens and were cut", file=sys.stderr
        )
    print(f"wrote {array.dtype} {list(array.shape)} to {target}", file=sys.stderr)


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
