"""The vocabulary of a Hugging Face or PaddleNLP directory with its added tokens, and the way back.

    from ernie.foreign_vocab import read_vocabulary
    vocabulary = read_vocabulary(Path("bert-base-uncased"), rows=30522)
    vocabulary.tokens[103], vocabulary.added      # "[MASK]", {"<e1>": AddedToken(id=30522, ...)}
    vocabulary.files()                            # {"vocab.txt": ..., "added_tokens.json": ...}

Tokens are added in three places, depending on the age of the library: ``added_tokens.json``, ``added_tokens_decoder``
in ``tokenizer_config.json``, and ``added_tokens`` in ``tokenizer.json``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ernie.foreign import read_json
from propeller.encoding import in_place, read_text
from propeller.errors import UserError
from tokenization import ADDED_TOKENS
from tokenization_added import SPECIAL_TOKENS, AddedToken, AddedTokens, parse_added

log = logging.getLogger("ernie.convert")

_UNUSED = re.compile(r"\[unused\d+\]", re.IGNORECASE)


class Vocabulary(NamedTuple):
    """tokens: each at its id. added: those that are read as one piece wherever they stand in a text."""

    tokens: list[str]
    added: dict[str, AddedToken]

    def files(self) -> dict[str, bytes]:
        """Name -> content of our files: ``vocab.txt`` and, where there are added tokens, ``added_tokens.json``."""
        files = {"vocab.txt": "".join(token + "\n" for token in self.tokens).encode()}
        if self.added:
            content = {token: facts.changes() for token, facts in self.added.items()}
            files[ADDED_TOKENS] = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
        return files


# ---------------------------------------------------------------- to params


def read_vocabulary(source: Path, rows: int) -> Vocabulary:
    """The vocabulary of a directory: ``vocab.txt``, else ``tokenizer.json``'s WordPiece model, and its added tokens.

    An id that no token has is called ``[unusedN]``, and so is a token that stands again later: its last id counts.

    Args:
        source: the directory.
        rows: of the word embedding.

    Raises:
        UserError: there is no vocabulary, or one of another kind; an added token has no row in the word embedding, the
            id of another token, or cannot stand in a line.
    """
    path = source / "vocab.txt"
    if path.is_file():
        numbered = dict(enumerate(_lines(path)))
    else:
        path = source / "tokenizer.json"
        numbered = _word_pieces(path, source)
    if max(numbered) >= rows:
        raise UserError(
            f"{path}: has ids up to {max(numbered)}, the word embedding only {rows} rows: give the vocabulary that "
            "belongs to the model"
        )
    ids = {token: number for number, token in numbered.items()}
    added = {}
    for token, (facts, file) in sorted(_added(source).items(), key=lambda item: item[1][0].id):
        _check_added(token, facts, file, rows)
        there = numbered.get(facts.id, token)
        if ids.get(token, facts.id) != facts.id:
            raise UserError(f"{file}: {token!r} has the id {facts.id}, and {ids[token]} in {path.name}: correct one")
        if there != token and not _UNUSED.fullmatch(there):
            raise UserError(f"{file}: {token!r} has the id {facts.id}, which is {there!r} in {path.name}: correct one")
        numbered[facts.id], ids[token] = token, facts.id
        if token not in SPECIAL_TOKENS:
            added[token] = facts
    if added:
        log.info("%s: added tokens: %s", source, ", ".join(f"{token} {facts.id}" for token, facts in added.items()))
    return Vocabulary(_filled(numbered, path), added)


def _lines(path):
    """The tokens of vocab.txt; ``token<TAB>id`` is taken where the ids are the lines' numbers."""
    try:
        lines = read_text(path).rstrip("\r\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): add the model's vocabulary") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}: {in_place(path, error.object)}") from error
    tokens = []
    for number, line in enumerate(lines):
        token, tab, given = line.strip().partition("\t")
        if tab and given.strip() != str(number):
            raise UserError(f"{path}: line {number + 1}: id {given.strip()!r}, not {number}: sort the file by id")
        tokens.append(token.strip())
    return tokens


def _word_pieces(path, source):
    """id -> token of tokenizer.json's WordPiece model."""
    if not path.is_file():
        raise UserError(f"{source}: neither vocab.txt nor tokenizer.json: add the model's vocabulary")
    model = read_json(path).get("model")
    vocab = model.get("vocab") if isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece" else None
    if (
        not isinstance(vocab, dict)
        or not vocab
        or not all(type(number) is int and number >= 0 for number in vocab.values())
    ):
        raise UserError(f"{path}: not a WordPiece vocabulary: convert another model, or add its vocab.txt")
    if len(set(vocab.values())) != len(vocab) or any("\n" in token or "\t" in token for token in vocab):
        raise UserError(f"{path}: two tokens have one id, or one holds a line break: add the model's vocab.txt")
    return {number: token for token, number in vocab.items()}


def _filled(numbered, path):
    """The tokens from id 0 on, each once."""
    last = {token: number for number, token in sorted(numbered.items())}
    tokens, renamed = [], []
    for number in range(max(numbered) + 1):
        token = numbered.get(number)
        if token is None or (token and last[token] != number):
            renamed.append(number)
            token = f"[unused{number}]"
            while token in last:
                token = token.replace("unused", "unused0")
        tokens.append(token)
    if renamed:
        log.warning(
            "%s: %d ids have no token, or one that stands again later: called %s%s", path, len(renamed),
            tokens[renamed[0]], " and so on" if len(renamed) > 1 else "",
        )  # fmt: skip
    return tokens


def _check_added(token, facts, file, rows):
    if facts.id >= rows:
        raise UserError(
            f"{file}: the added token {token!r} has the id {facts.id}, the word embedding only {rows} rows: save the "
            "model again after resize_token_embeddings, or remove the token there"
        )
    if token != token.strip() or not token or re.search(r"[\t\r\n]", token):
        raise UserError(
            f"{file}: the added token {token!r} is blank, begins or ends with a blank, or holds a tab or a line break, "
            "which a vocabulary of lines cannot: remove it there"
        )


def _added(source: Path) -> dict[str, tuple[AddedToken, Path]]:
    """token -> (what it is, the file that says so); the newest of the three files counts."""
    special = set(_special_tokens(source))
    found: dict[str, tuple[AddedToken, Path]] = {}
    for path, token, value in (*_of_tokenizer_json(source), *_of_config(source), *_of_added_tokens(source)):
        facts = parse_added(token, value, path)
        if not isinstance(value, Mapping):  # a number alone: as Hugging Face takes it
            facts = dataclasses.replace(facts, normalized=token not in special, special=token in special)
        known = found.setdefault(token, (facts, path))[0]
        if known.id != facts.id:
            raise UserError(
                f"{path}: {token!r} has the id {facts.id}, and {known.id} in {found[token][1]}: correct one"
            )
    return found


def _of_tokenizer_json(source) -> Iterator[tuple[Path, str, Any]]:
    path = source / "tokenizer.json"
    listed = read_json(path).get("added_tokens") if path.is_file() else None
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            yield path, entry["content"], entry


def _of_config(source) -> Iterator[tuple[Path, str, Any]]:
    path = source / "tokenizer_config.json"
    listed = read_json(path).get("added_tokens_decoder") if path.is_file() else None
    for number, entry in listed.items() if isinstance(listed, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("content"), str) and number.isdecimal():
            yield path, entry["content"], {**entry, "id": int(number)}


def _of_added_tokens(source) -> Iterator[tuple[Path, str, Any]]:
    path = source / ADDED_TOKENS
    for token, value in read_json(path).items() if path.is_file() else ():
        yield path, token, value


def _special_tokens(source) -> Iterator[str]:
    """What the tokenizer's files name as a special token, whatever it is for."""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = source / name
        named = read_json(path) if path.is_file() else {}
        values = [value for key, value in named.items() if key.endswith(("_token", "special_tokens"))]
        entries = chain.from_iterable(value if isinstance(value, list) else [value] for value in values)
        tokens = (entry.get("content") if isinstance(entry, dict) else entry for entry in entries)
        yield from (token for token in tokens if isinstance(token, str))


# ---------------------------------------------------------------- to Hugging Face


def vocabulary_to_hf(vocab_path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """A vocabulary of ours as Hugging Face's files.

    Args:
        vocab_path: ``vocab.txt``, with or without ``<TAB>id``, its ``added_tokens.json`` beside it.

    Returns:
        (name -> content of ``vocab.txt`` and, where there are added tokens, ``added_tokens.json``; what
        ``tokenizer_config.json`` says of them). As there, the added tokens at the end are not in ``vocab.txt``.

    Raises:
        UserError: a file cannot be read, or the ids of ``vocab.txt`` are not its lines' numbers.
    """
    tokens = _lines(vocab_path)
    added = AddedTokens.read(vocab_path).tokens
    ids = {token: number for number, token in enumerate(tokens)}
    for token, facts in sorted(added.items(), key=lambda item: item[1].id):
        if ids.setdefault(token, len(ids)) != facts.id:
            raise UserError(
                f"{vocab_path}: {token!r} is not at its id {facts.id} there: give the model's own vocab.txt"
            )
    while tokens and tokens[-1] in added:
        tokens.pop()
    files = {"vocab.txt": "".join(token + "\n" for token in tokens).encode()}
    if not added:
        return files, {}
    numbers = {token: facts.id for token, facts in added.items()}
    files[ADDED_TOKENS] = (json.dumps(numbers, indent=2, ensure_ascii=False) + "\n").encode()
    decoder = {str(facts.id): {"content": token, **facts.flags()} for token, facts in added.items()}
    special = [token for token, facts in added.items() if facts.special]
    return files, {"added_tokens_decoder": decoder, **({"additional_special_tokens": special} if special else {})}
