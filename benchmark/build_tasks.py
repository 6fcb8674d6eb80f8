"""Pre-segmented text to the shards of all seven tasks, beside a plain loop over every token: tokens a second.

    python benchmark/build_tasks.py                    # text made on the spot, its vocabulary built from it
    python benchmark/build_tasks.py --minutes 10

Ours makes the instances of seven tasks from one pass over the text. The plain loop cuts the text once too, by
BasicTokenizer pass by pass and greedy longest match in plain Python (benchmark/reader.py), keeps lists of numbers for
every word, and formats each line from them. What is drawn, and the scores of titles, come from the same functions.
Both write the same lines of every task, which is checked first. Rounds interleave, all on one core, compression
included; of processor time. Tokens are those of all instances. Target: 5 times the plain loop.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FAST = 4  # of gzip, in the plain loop: five times as fast as its default
sys.path.insert(0, str(ROOT))

from benchmark.build_data import PlainBuilder, lines_of, make_text  # noqa: E402
from benchmark.parts.common import Bench, arguments, say  # noqa: E402
from benchmark.parts.plain_sentences import fit, flat, gathered, head, in_halves, packed, size  # noqa: E402
from benchmark.reader import one_core  # noqa: E402
from pretrain import TASKS  # noqa: E402
from pretrain.build_vocab import build, count_words  # noqa: E402
from pretrain.corpus.balance import Balance  # noqa: E402
from pretrain.corpus.bm25 import Bm25  # noqa: E402
from pretrain.corpus.builder import Plan  # noqa: E402
from pretrain.corpus.documents import Source, blocks  # noqa: E402
from pretrain.corpus.input_file import build_file  # noqa: E402
from pretrain.corpus.pieces import LONGEST_WORD  # noqa: E402
from pretrain.corpus.sentences import split  # noqa: E402
from pretrain.tasks.capitalization import capital  # noqa: E402
from pretrain.tasks.discourse_relation import balanced  # noqa: E402
from pretrain.tasks.ir_relevance import QUERY_WORDS, TRIES  # noqa: E402
from pretrain.tasks.sentence_distance import possible  # noqa: E402
from pretrain.tasks.sentence_reordering import in_segments, orders  # noqa: E402
from pretrain.tasks.token_document_relation import COMMON, DOCUMENTS  # noqa: E402
from propeller.files import write_file  # noqa: E402

MAX_SEQ_LEN, SEED, TARGET, SEGMENTS = 128, 0, 5, 3
TEXTS, CONNECTIVES, SPAN = 300, 8, (3, 32)


def make_titled(path, connectives):
    """The text of benchmark/build_data.py as JSON lines with titles; sentences open with connectives now and then, some
    words with a capital."""
    make_text(path)
    rs, rows = np.random.RandomState(5), []
    documents = path.read_text(encoding="utf-8").split("\n\n")[:TEXTS]
    counts = Counter(word for text in documents for word in text.split() if len(word) == 2 and not word.isascii())
    words = [word for word, _ in counts.most_common(CONNECTIVES)]
    for text in documents:
        found = [word.capitalize() if rs.rand() < 0.4 else word for word in text.split(" ")]
        for place, word in enumerate(found[:-1]):
            if word == "。" and rs.rand() < 0.5:
                found[place] += f" {words[rs.randint(len(words))]}"
        title = [found[place] for place in rs.randint(0, len(found), 6)]
        rows.append({"title": " ".join(title).replace("\n", " "), "text": " ".join(found)})
    write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    entries = [{"connective": word, "sense": "any", "place": "sentence"} for word in words]
    write_file(connectives, json.dumps({"words": SPAN, "connectives": entries}, ensure_ascii=False).encode())
    return words


class PlainTasks(PlainBuilder):
    """Instances of seven tasks with loops over every token. A sentence is a list of words, a word a list of ids."""

    def __init__(self, plan, words):
        super().__init__(plan.vocab_path)
        self.plan = plan
        self.connectives = [flat(self.cut(word)) for word in words]
        self.marks = {self.plain.vocab.get(mark) for mark in ",，"}
        self.letters = {number for piece, number in self.plain.vocab.items() if any(map(str.isalnum, piece))}
        self.unknown = self.plain.vocab["[UNK]"]
        self.questions = {self.plain.vocab.get(mark) for mark in "?？"}

    def cut(self, text):
        """Words of a text, each as FullTokenizer cuts it."""
        return [list(self.plain.pieces(part)) for part in self.plain.words(text)]

    def build(self, path, folder, name):
        """Write FOLDER/TASK.gz of every task; returns the number of tokens."""
        self.tokens = 0
        shards = {task: gzip.open(folder / f"{task}.gz", "wt", compresslevel=FAST) for task in TASKS}  # noqa: SIM115
        for block in blocks(path, Source(), self.plan.block_chars):
            documents = [self.document(document) for document in block.documents]
            for task, shard in shards.items():
                seeds = [f"{SEED}/{name}/{document.number}" for document in block.documents]
                seeds = seeds if task == "knowledge_masking" else [f"{seed}/{task}" for seed in seeds]
                for texts, label, fourth in getattr(self, task)(documents, [random.Random(s).random for s in seeds]):
                    shard.write(self.line(texts, label, fourth))
        for shard in shards.values():
            shard.close()
        return self.tokens

    def document(self, document):
        """(title, [(words, classes of their pieces, number of the paragraph), ...])."""
        found = []
        for number, paragraph in enumerate(document.paragraphs):
            for words, classes in self.sentences(paragraph):
                found.append((words, classes, number))
        return [[piece] for piece in flat(self.cut(document.title))], found

    def sentences(self, line):
        """(words, classes of their pieces) of each sentence of a paragraph."""
        words, latin = [], False
        for word in line.split():
            begins = word[0].isascii() and word[0].isalnum()
            words += [" ", word] if latin and begins else [word]
            latin = word[-1].isascii() and word[-1].isalnum()
        ends, place = set(), 0
        for piece in split("".join(words)):
            place += len(piece)
            ends.add(place)
        place, found, classes = 0, [], []
        for word in words:
            ids = flat(self.cut(word))
            classes += [capital(word).decode()] * len(ids)
            while ids:
                found.append(ids[:LONGEST_WORD])
                ids = ids[LONGEST_WORD:]
            place += len(word)
            if place in ends:
                if found:
                    yield found, classes
                found, classes = [], []

    def line(self, texts, label, fourth=None):
        """A line of a shard."""
        ids, sents, told = [self.cls], [0], [-1]
        for kind, sentences in enumerate(texts):
            for words in sentences:
                for word in words:
                    for number, piece in enumerate(word):
                        ids.append(piece)
                        sents.append(1 if kind else 0)
                        told.append(1 if number else 0)
            ids.append(self.sep)
            sents.append(1 if kind else 0)
            told.append(-1)
        told = told if fourth is None else [-1, *fourth, -1]
        self.tokens += len(ids)
        fields = (ids, sents, range(len(ids)), told)
        return ";".join(" ".join(str(number) for number in field) for field in fields) + f";{label}\n"

    # Instances of a block: (texts, each a list of sentences; label; fourth field). draws: random() of every document.

    def knowledge_masking(self, documents, draws):
        for (_, found), draw in zip(documents, draws):
            for first, second in self.pairs([part for words, _, _ in found for part in fit(words, self.most)], draw):
                yield [[first], [second]], 1, None

    def capitalization(self, documents, draws):
        for _, found in documents:
            held, told = [], []
            for words, classes, _ in found:
                begin = 0
                for part in fit(words, MAX_SEQ_LEN - 2):
                    count = size([part])
                    if held and len(told) + count > MAX_SEQ_LEN - 2:
                        if any(each != "-1" for each in told):
                            yield [held], 0, told
                        held, told = [], []
                    held.append(part)
                    told += classes[begin : begin + count]
                    begin += count
            if any(each != "-1" for each in told):
                yield [held], 0, told

    def token_document_relation(self, documents, draws):
        cut, counts = [], Counter()
        for _, found in documents:
            parts = packed([words for words, _, _ in found], MAX_SEQ_LEN - 2)
            parts = in_halves(parts[0]) if len(parts) == 1 else parts
            cut.append([(part, {tuple(word) for words in part for word in words}) for part in parts])
            counts.update(set().union(*(kinds for _, kinds in cut[-1])))
        common = {word for word, count in counts.items() if len(cut) >= DOCUMENTS and count > COMMON * len(cut)}
        for parts in cut:
            for number, (part, _) in enumerate(parts if len(parts) > 1 else []):
                told = []
                for word in (word for words in part for word in words):
                    unknown = any(piece == self.unknown for piece in word)
                    if unknown or tuple(word) in common or not any(piece in self.letters for piece in word):
                        label = -1
                    else:
                        others = (kinds for other, (_, kinds) in enumerate(parts) if other != number)
                        label = int(any(tuple(word) in kinds for kinds in others))
                    told += [label] * len(word)
                yield [part], 0, told

    def sentence_reordering(self, documents, draws):
        every, most = orders(SEGMENTS), MAX_SEQ_LEN - 1 - SEGMENTS
        balance = Balance(len(every))
        for (_, found), draw in zip(documents, draws):
            paragraphs = {}
            for words, _, number in found:
                paragraphs.setdefault(number, []).append(words)
            for sentences in (part for paragraph in paragraphs.values() for part in packed(paragraph, most)):
                able = [label for label, order in enumerate(every) if len(order) <= min(len(sentences), SEGMENTS)]
                label = balance.draw(able, draw)
                if label is not None:
                    segments = in_segments(sentences, len(every[label]), draw)
                    yield [segments[place] for place in every[label]], label, None

    def sentence_distance(self, documents, draws):
        cut = [[part for words, _, _ in found for part in fit(words, self.most // 2)] for _, found in documents]
        balance = Balance(3)
        for own, (chosen, draw) in enumerate(zip(cut, draws)):
            place = 0
            while place < len(chosen):
                end = gathered(chosen, place, self.most * (0.25 + 0.5 * draw()))
                label = balance.draw(possible(cut, own, place, end), draw)
                first, other, start, stop = chosen[place:end], chosen, end, None
                if label == 1:
                    starts = [*range(place - 1), *range(end + 1, len(chosen))]
                    start = starts[int(draw() * len(starts))]
                    stop = place - 1 if start < place else None
                elif label == 2:
                    number = int(draw() * (len(cut) - 1))
                    other = cut[number + (number >= own)]
                    start = int(draw() * len(other))
                if label is not None:
                    room = self.most - size(first)
                    last = gathered(other[:stop], start, room)
                    second = other[start:last] if size([other[start]]) <= room else [head(other[start], room)]
                    yield [first, second], label, None
                place = end + (last - start if label == 0 else 0)

    def discourse_relation(self, documents, draws):
        pairs = []
        for (_, found), draw in zip(documents, draws):
            for (before, _, number), (words, _, own) in zip(found, found[1:]):
                label, rest = self.opened(words) if number == own else (None, [])
                good = label is not None and 1 < size([before, rest]) <= self.most
                for words in (before, rest):
                    good = good and SPAN[0] <= len(words) <= SPAN[1]
                    good = good and not any(len(word) == 1 and word[0] in self.questions for word in words[-2:])
                if good:
                    pairs.append((before, rest, label, draw()))
        for first, second, label, _ in balanced(pairs):
            yield [[first], [second]], label, None

    def opened(self, words):
        """(label, the words after the connective that the sentence opens with), or (None, [])."""
        for label, connective in enumerate(self.connectives):
            ids, place = [], 0
            while place < len(words) and len(ids) < len(connective):
                ids += words[place]
                place += 1
            if ids == connective:
                place += place < len(words) and len(words[place]) == 1 and words[place][0] in self.marks
                return label, words[place:]
        return None, []

    def ir_relevance(self, documents, draws):
        found = []
        for (title, sentences), draw in zip(documents, draws):
            query = title and self.query(title, [words for words, _, _ in sentences])
            if query:
                found.append((title, query, draw))
        titles = [title for title, _, _ in found]
        index = Bm25([[b"%d" % piece for piece in flat(title)] for title in titles])
        for title, query, draw in found:
            scores, near = index.scores([b"%d" % piece for piece in flat(query)]), None
            while near is None and scores[best := int(scores.argmax())] > 0:
                near = titles[best] if titles[best] != title else None
                scores[best] = 0
            tries = (titles[int(draw() * len(titles))] for _ in range(TRIES))
            other = next((each for each in tries if each not in (title, near)), None)
            for label, chosen in enumerate((title, near, other)):
                if chosen:
                    first, half = query, self.most // 2
                    if size([first, chosen]) > self.most:
                        if size([chosen]) > half:
                            chosen = head(chosen, max(half, self.most - size([first])))
                        first = head(first, self.most - size([chosen]))
                    yield [[first], [chosen]], label, None

    @staticmethod
    def query(title, sentences):
        """The first sentence after the title that has words enough; None: there is none."""
        whole = rest = flat(title)
        for words in sentences:
            ids = flat(words)
            if rest and rest[: len(ids)] == ids:
                rest = rest[len(ids) :]
                continue
            rest = []
            if len(words) >= QUERY_WORDS and ids != whole:
                return words
        return None


def check(plan, words, path, folder):
    """The two write the same lines; returns the number of tokens."""
    records = build_file(path, "ours", plan, folder)
    tokens = PlainTasks(plan, words).build(path, folder, "ours")
    for task, record in records.items():
        ours, plain = lines_of(folder / task / "shards", "ours"), lines_of(folder, task)
        different = next((number for number, (a, b) in enumerate(zip(ours, plain)) if a != b), None)
        if ours != plain or not ours:
            at = "the count" if different is None else f"line {different + 1}"
            raise SystemExit(f"{task}: the plain loop writes other lines ({len(plain)} and {len(ours)}): see {at}")
        say(f"{task}: both write the same {len(ours)} lines of {record['stats']['tokens']} tokens")
    assert tokens == sum(record["stats"]["tokens"] for record in records.values())
    return tokens


def main():
    """Measure and report; the exit status is 0 when the target is met."""
    args = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        path, vocab, connectives = folder / "text.jsonl", folder / "vocab.txt", folder / "connectives.json"
        words = make_titled(path, connectives)
        write_file(vocab, "\n".join(build(count_words([path]), 8000)).encode())
        plan = Plan(
            str(vocab),
            segmenter="pre-segmented",
            pairs="positive",
            max_seq_len=MAX_SEQ_LEN,
            tasks=tuple(TASKS),
            connectives=str(connectives),
            stop_words="",
        )
        for task in TASKS:
            (folder / task / "shards").mkdir(parents=True)
        bench = Bench(
            "build_tasks",
            args,
            {"clock": "processor", "texts": TEXTS, "max_seq_len": MAX_SEQ_LEN, "connectives": CONNECTIVES},
        )
        tokens = bench.cell("tokens", lambda: check(plan, words, path, folder))

        def timed(work):
            with one_core():
                begin = time.process_time()
                work()
                return tokens / (time.process_time() - begin)

        plain = PlainTasks(plan, words)
        candidates = {
            "plain loop": lambda: timed(lambda: plain.build(path, folder, "plain")),
            "one core": lambda: timed(lambda: build_file(path, "one", plan, folder)),
        }
        found = bench.rounds("speed", candidates) if tokens else {}
    for name, rounds in found.items():
        print(f"{name:12} {rounds} tokens/s")
    if len(found) < 2:
        return 1
    ratio = found["one core"].median / found["plain loop"].median
    print(f"one core: {ratio:.1f} times the plain loop (target {TARGET})")
    return 0 if ratio >= TARGET and all(rounds.complete for rounds in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
