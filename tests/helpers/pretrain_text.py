"""Small text for the tests of pre-training data: a vocabulary, documents, and what a shard says."""

import gzip

from reader.pretraining.shard_files import read_filelist

HAN = "中文大学生在北京上海工作他很忙我们去公园走了好天气今明说话三百里张李四年月日，。！？、“”：；（）…"
DOCUMENTS = (
    "张三在北京工作。他很忙，我们去公园。\n今天天气好！",
    "李四在上海大学。他说：“好。”我们走了三百里。",
    "大学生走了。\n公园很好，天气好。他们三年四月去上海？",
    "我们在公园说话。今天好，明天好。三百日。他走了。",
)


def write_vocab(path, more=""):
    """[PAD] to [UNK], Chinese characters, letters and digits alone and as ##; returns the path as a string.

    more: text whose characters are added.
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *dict.fromkeys(HAN), *letters, *",.!?\"'-"]
    tokens += [char for char in dict.fromkeys(more) if char.strip() and char not in tokens]
    tokens += [f"##{char}" for char in letters]
    path.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return str(path)


def write_text(path, documents=DOCUMENTS):
    """Plain text with a blank line between documents; returns the path as a string."""
    path.write_text("\n\n".join(documents) + "\n", encoding="utf-8")
    return str(path)


def shard_lines(folder):
    """The lines of all shards of a list, in order, as lists of fields."""
    found = []
    for shard in read_filelist(folder / "filelist"):
        with gzip.open(shard.path, "rt") as file:
            found += [line.rstrip("\n").split(";") for line in file]
    return found
