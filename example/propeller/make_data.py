"""Write the small data of these examples: sentences put together from a few words, so that a model can learn them.

python example/propeller/make_data.py example/propeller/data
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

THINGS = ["房间", "早餐", "服务", "位置", "电影", "剧情", "音乐", "手机", "屏幕", "电池", "包装", "书"]
GOOD = ["很好", "很舒服", "非常满意", "让人喜欢", "值得推荐", "比想象的好"]
BAD = ["很差", "很糟糕", "非常失望", "让人讨厌", "不值得推荐", "比想象的差"]
QUESTIONS = ["怎么去机场", "哪里有好吃的面", "手机没电了怎么办", "几点开门", "怎么学英语", "明天天气怎么样"]
ANSWERS = ["坐机场大巴去机场", "巷子里的面很好吃", "给手机充电或换电池", "早上九点开门", "多读多听英语", "明天天气晴"]
PEOPLE, PLACES, GROUPS = (
    ["王小明", "李华", "张三丰", "赵云"],
    ["北京", "上海", "南京路", "广州"],
    ["新华社", "大众公司", "北京大学"],
)
SENTENCES = [
    "{P}昨天到了{L}",
    "{P}和{O}都在{L}",
    "{L}的{O}欢迎{P}",
    "{P}说{L}没有{O}",
    "{O}的{P}今天发言",
    "{P}在{L}加入了{O}",
    "从{L}来的人都认识{P}",
    "{O}今天没有开会",
]
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]


def classifier():
    rows = [(f"{a}和{b}{word}", label) for label, words in enumerate((BAD, GOOD)) for word in words
            for a, b in itertools.permutations(THINGS, 2)]  # fmt: skip
    return [f"{text}\t{label}" for text, label in rows]


def ranker():
    questions = []
    for number in range(240):
        at = number % len(QUESTIONS)
        wrong = random.sample([i for i in range(len(ANSWERS)) if i != at], 2)
        candidates = [(ANSWERS[at], 1), *((ANSWERS[i], 0) for i in wrong)]
        random.shuffle(candidates)
        ask = random.choice(["请问", "你好", "想问一下", ""]) + QUESTIONS[at]
        tails = random.choices(["", "吧", "的", "谢谢"], k=3)
        questions.append(
            [f"{number}\t{ask}\t{answer}{tail}\t{right}" for (answer, right), tail in zip(candidates, tails)]
        )
    return questions


def tagger():
    rows = []
    for template, person, place, group in itertools.product(SENTENCES, PEOPLE, PLACES, GROUPS):
        tokens, tags = [], []
        for part in template.replace("{", "|{").replace("}", "}|").split("|"):
            kind = {"{P}": ("PER", person), "{L}": ("LOC", place), "{O}": ("ORG", group)}.get(part)
            word = kind[1] if kind else part
            tokens += word
            tags += [f"{'I' if i else 'B'}-{kind[0]}" if kind else "O" for i in range(len(word))]
        rows.append("\x02".join(tokens) + "\t" + "\x02".join(tags))
    return sorted(set(rows))


def xnli():
    rows = []
    for thing, other, (good, bad) in itertools.product(THINGS, THINGS, zip(GOOD, BAD)):
        if thing == other:
            continue
        rows.append(f"{thing}{good}\t{thing}{good}，是的\tentailment")
        rows.append(f"{thing}{good}\t{thing}{bad}\tcontradiction")
        rows.append(f"{thing}{good}\t{other}{bad}\tneutral")
    return rows


def write(folder, parts):
    for name, rows in parts.items():
        path = folder / name / "part-0"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(rows) + "\n", encoding="utf8")


def main(folder):
    random.seed(1)
    folder = Path(folder)
    for name, rows in (("classifier", classifier()), ("tagger", tagger())):
        random.shuffle(rows)
        rows = rows[:400]
        end = len(rows) * 3 // 4
        middle = (end + len(rows)) // 2
        write(folder / name, {"train": rows[:end], "dev": rows[end:middle], "test": rows[middle:]})
    questions = ranker()
    flat = [[row for question in part for row in question] for part in (questions[:180], questions[180:])]
    write(folder / "ranker", dict(zip(("train", "dev"), flat)))
    rows = xnli()
    random.shuffle(rows)
    for name, part in (("train", rows[:500]), ("dev", rows[500:600])):
        path = folder / "xnli" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["text_a\ttext_b\tlabel", *part]) + "\n", encoding="utf8")
    tags = {tag: i for i, tag in enumerate(["B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"])}
    (folder / "tagger" / "label_map.json").write_text(json.dumps(tags, indent=1) + "\n")
    texts = [
        *THINGS,
        *GOOD,
        *BAD,
        *QUESTIONS,
        *ANSWERS,
        *PEOPLE,
        *PLACES,
        *GROUPS,
        *SENTENCES,
        "和请问你好想一下吧谢，是",
    ]
    characters = sorted({character for text in texts for character in text} - set("{}PLO"))
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *characters]) + "\n", encoding="utf8")


if __name__ == "__main__":
    main(*sys.argv[1:])
