"""English text to pre-train on, of the vaderSentiment source distribution, as pretrain.build_data reads it.

    python script/demo/pretrain_corpus_en.py --out output/pretrain_demo/en/text --cache output/quickstart/downloads

DIR/news.txt     editorials of the New York Times, and
DIR/reviews.txt  reviews of things bought, both a sentence a line, from those of Hutto and Gilbert, "VADER" (ICWSM 2014)
DIR/news_valid.txt, DIR/reviews_valid.txt   every 20th document, which the others do not hold
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository

from propeller.errors import exit_on_user_error
from propeller.files import write_file
from script.demo.demo_data import INNER_TAR, SENTIMENT
from script.demo.demo_packages import fetch, make, member, members, not_expected

FILES = {
    "news": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
    "reviews": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
}
VALID_EVERY = 20


def documents(content):
    """Lists of at least two sentences out of lines ``document_sentence<TAB>score<TAB>text``, in order."""
    found = {}
    for line in content.decode("utf-8", "replace").splitlines():
        number, _, rest = line.partition("\t")
        text = " ".join(rest.partition("\t")[2].split())
        if text:
            found.setdefault(number.partition("_")[0], []).append(text)
    return [sentences for sentences in found.values() if len(sentences) > 1]


def contents(cache, places):
    """name -> bytes of a file of the package. Args: places: name -> the file's path in it."""
    path = fetch(SENTIMENT, cache)
    try:
        with tarfile.open(fileobj=io.BytesIO(members(path, (INNER_TAR,))[0]), mode="r:gz") as archive:
            return {name: member(archive, inner) for name, inner in places.items()}
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise not_expected(path, error) from error


def make_corpus(out, cache):
    """The four files of DIR."""

    def build(temporary):
        for name, content in contents(cache, FILES).items():
            kept = documents(content)
            parts = {"": [d for n, d in enumerate(kept) if n % VALID_EVERY], "_valid": kept[::VALID_EVERY]}
            for part, some in parts.items():
                text = "\n".join("".join(f"{sentence}\n" for sentence in document) for document in some)
                write_file(temporary / f"{name}{part}.txt", text.encode())
            print(f"{name}: {len(parts[''])} documents in {name}.txt, {len(parts['_valid'])} in {name}_valid.txt")

    if make(out, SENTIMENT, build, {"corpus": 1}):
        print(f"{out}: news.txt, reviews.txt and their _valid.txt")


def main(argv=None):
    """As a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--cache", required=True, help="where the package is kept")
    args = parser.parse_args(argv)
    make_corpus(args.out, args.cache)


if __name__ == "__main__":
    exit_on_user_error(main)
