"""Makes and reads ``tests/fixtures/recorded_2019.tar.xz``: inputs, and what the 2019 code computed from them.

    python -m tests.helpers.recorded GOLDEN VOCAB [ARCHIVE]    # the recordings, the two published vocabularies

The archive holds the recordings without their logs, every array once, and two vocabularies of the published sizes in
which a piece that no recorded text has is a placeholder, so that every id is the published one.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

ARCHIVE = Path(__file__).resolve().parents[1] / "fixtures" / "recorded_2019.tar.xz"
LEFT_OUT = ("README.md", "6_cli/log/", "6_cli/mrc_out/4_", "6_cli/mrc_out/8_", "6_cli/data/pt_")
KEPT_LOGS = ("6_cli/log/infer.log", "6_cli/log/pretrain_default_batch_size.log")
ABSENT = "[absent{}]"


@functools.cache
def folder() -> Path:
    """The archive unpacked, until this process ends."""
    path = Path(tempfile.mkdtemp(prefix="recorded-2019-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    with tarfile.open(ARCHIVE) as archive:
        for member in archive.getmembers():
            target = path / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(member).read())
    return path


def names(golden: Path) -> list[str]:
    """The recorded files that the archive holds, by their paths below ``golden``."""
    found = sorted(str(path.relative_to(golden)) for path in golden.rglob("*") if path.is_file())
    return [name for name in found if name in KEPT_LOGS or not name.startswith(LEFT_OUT)]


def texts(golden: Path):
    """Every text that a recording was made from."""
    for case in json.loads((golden / "1_tokenization/cases.json").read_text(encoding="utf8"))["cases"]:
        yield case["text"]
    for name in names(golden):
        if name.endswith(".tsv") and "/data/" in name:
            for line in (golden / name).read_text(encoding="utf8").split("\n"):
                for field in line.split("\t"):
                    yield field
                    yield from field.split("\x02")
        elif name.endswith(".json") and "/data/mrc" in name:
            for article in json.loads((golden / name).read_text(encoding="utf8"))["data"]:
                for paragraph in article["paragraphs"]:
                    yield paragraph["context"]
                    yield from paragraph["context"].split()
                    for question in paragraph["qas"]:
                        yield question["question"]
                        for answer in question.get("answers", []):
                            yield answer["text"]
                            yield from paragraph["context"].split(answer["text"])  # 2019 cut there first


def tokenizers(vocab: Path):
    from tokenization import CharTokenizer, FullTokenizer

    for lower in (True, False):
        for for_cn in (True, False):
            yield FullTokenizer(vocab, do_lower_case=lower, for_cn=for_cn).tokenize
    char = CharTokenizer(vocab)
    yield char.tokenize
    yield char.wordpiece_tokenizer.tokenize


def reduced(golden: Path, vocab: Path, place: Path) -> bytes:
    """The vocabulary with placeholders for the pieces that stand in no recorded word; checked on every text."""
    from tokenization import BasicTokenizer

    lines = vocab.read_text(encoding="utf8").rstrip("\n").split("\n")
    basic = BasicTokenizer(True).tokenize, BasicTokenizer(False).tokenize, str.split
    words = "\n".join({word for text in texts(golden) for tokenize in basic for word in tokenize(text)})
    used = {token for tokenize in tokenizers(vocab) for text in texts(golden) for token in tokenize(text)}
    used.update(("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"))

    def stands_there(piece):
        return piece in used or (piece[2:] if piece[:2] == "##" else piece) in words

    kept = [line if stands_there(line.split("\t")[0]) else ABSENT.format(i) for i, line in enumerate(lines)]
    place.write_text("\n".join(kept) + "\n", encoding="utf8")
    for whole, less in zip(tokenizers(vocab), tokenizers(place)):
        for text in texts(golden):
            if whole(text) != less(text):
                raise SystemExit(f"{vocab.name}: {text!r} is cut otherwise without the pieces left out")
    return place.read_bytes()


def content(path: Path) -> bytes:
    """A file's bytes; arrays without their own compression, so that equal ones are stored once."""
    import numpy as np

    if path.suffix != ".npz":
        return path.read_bytes()
    memory = io.BytesIO()
    with np.load(path, allow_pickle=False) as arrays:
        np.savez(memory, **{name: arrays[name] for name in arrays.files})
    return memory.getvalue()


def make(golden: Path, vocab: Path, archive: Path = ARCHIVE) -> None:
    with tempfile.TemporaryDirectory() as place, tarfile.open(archive, "w:xz", preset=9) as tar:
        stored = {name: content(golden / name) for name in names(golden)}
        for name in ("vocab_zh.txt", "vocab_en.txt"):
            stored[f"vocab/{name}"] = reduced(golden, vocab / name, Path(place) / name)
        for name, data in stored.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


if __name__ == "__main__":
    make(*map(Path, sys.argv[1:4]))
