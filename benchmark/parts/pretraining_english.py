"""English for benchmark/continual.py: the text of the English demonstration, and tasks of GLUE to fine-tune on.

    corpus = Corpus(work, dev_texts(data, ENGLISH_TASKS), cache, config, language=ENGLISH)

The text is in the vaderSentiment source distribution: editorials of the New York Times, reviews of things bought (in
lower case), and sentences of film reviews, each a document of its own. Of the film sentences, about 800 are dev texts
of SST-2 and are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.parts.pretraining_cells import FineTuning
from benchmark.parts.pretraining_corpus import NEWS_TEXT, REVIEWS_TEXT, ROOT, Language
from propeller.errors import UserError
from script.demo.demo_data import SENTENCES, SENTIMENT
from script.demo.pretrain_corpus_en import FILES, contents, documents

FILMS_TEXT = "films"
VALID_EVERY = 10  # there is little text: enough of it has to be held out
PLACES = {NEWS_TEXT: FILES["news"], REVIEWS_TEXT: FILES["reviews"], FILMS_TEXT: SENTENCES}


def english(cache):
    """(name, documents, document -> its text) of every text."""
    return tuple(
        (name, single(content) if name == FILMS_TEXT else documents(content), " ".join)
        for name, content in contents(cache, PLACES).items()
    )


def single(content) -> list:
    """Lists of one sentence out of lines ``number<TAB>score<TAB>text``."""
    found = []
    for line in content.decode("utf-8", "replace").splitlines():
        text = " ".join(line.split("\t", 2)[-1].split())
        if text:
            found.append([text])
    return found


ENGLISH = Language(
    SENTIMENT,
    english,
    dict.fromkeys(PLACES, "english"),
    ROOT / "config/ernie_mini_en.json",
    VALID_EVERY,
    {"line_break": "wrap"},  # a sentence a line, and what is reordered are paragraphs
    {"language": "en", "texts": sorted(PLACES), "valid_every": VALID_EVERY},
    {
        FILMS_TEXT: ("token_document_relation", "sentence_reordering", "sentence_distance"),  # single sentences
        REVIEWS_TEXT: ("capitalization",),  # in lower case
    },
)


@dataclass(frozen=True)
class Glue(FineTuning):
    """A task of GLUE's download. columns: of its file, for text_a, text_b where it is a pair, and label, in order."""

    columns: tuple = ()
    regression: bool = False
    learning_rate: float = 1e-4

    @property
    def flags(self) -> dict:
        scores = {"is_regression": "true", "metric": "pearson_and_spearman"} if self.regression else {}
        return {"for_cn": "false", **scores}  # else the blanks between words are taken away

    def read(self, data, part) -> list:
        """Rows, the header of our readers first. Raises UserError."""
        header, *rows = super().read(data, part)
        names = ["text_a", *["text_b"][: len(self.columns) - 2], "label"]
        missing = [name for name in self.columns if name not in header]
        if missing:
            raise UserError(
                f"{Path(data) / self.folder / part}.tsv, line 1: no column {', '.join(missing)}; give --data the "
                "folder of GLUE's download"
            )
        places = [header.index(name) for name in self.columns]
        return [names, *([row[place] for place in places] for row in rows if len(row) > max(places))]


ENGLISH_TASKS = (
    Glue(
        "SST-2",
        "glue/SST-2",
        "acc",
        "accuracy",
        2.0,
        rows=2400,
        dev_rows=872,  # all of them
        epochs=6,
        columns=("sentence", "label"),
    ),
    Glue(
        "STS-B",
        "glue/STS-B",
        "pearson",
        "Pearson",
        2.0,
        rows=2400,
        dev_rows=1500,  # all of them
        epochs=6,
        labels=1,
        columns=("sentence1", "sentence2", "score"),
        regression=True,
    ),
    Glue(
        "MRPC",
        "glue/MRPC",
        "acc",
        "accuracy",
        2.0,
        rows=2388,  # all of the smaller class in both files, as many of the larger
        dev_rows=258,
        epochs=6,
        balanced=True,
        columns=("#1 String", "#2 String", "Quality"),
    ),
)
