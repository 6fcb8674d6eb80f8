#!/bin/sh
# label-studio-sdk 2.1.2, whose converter makes the exports of label-studio: the CoNLL form is split by NLTK's tokenizer for
# English. A Chinese sentence becomes one token, however many entities were marked in it, and its tag is that of the first.
# There is no error and no warning; a tagger trained on the file learns that whole sentences are persons.
# Output seen (Python 3.11, nltk 3.10.4):
#   4 entities marked: 1 token, 1 entity: 张三和李四在北京工作，住在上海。 B-PER
#   2 entities marked: 5 tokens, 2 entities: Ann B-PER, works O, in O, Paris B-LOC, . O
. "$(dirname "$0")/common.sh"
in_venv label-studio-sdk==2.1.2 nltk==3.10.4
cat >export.py <<'PYTHON'
import json

from label_studio_sdk.converter import Converter

CONFIG = """<View>
  <Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>
  <Text name="text" value="$text"/>
</View>"""


def marked(text, word, label):
    begin = text.index(word)
    value = {"start": begin, "end": begin + len(word), "text": word, "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def counted(number, one, more):
    return f"{number} {one if number == 1 else more}"


for text, words in (
    ("张三和李四在北京工作，住在上海。", {"张三": "PER", "李四": "PER", "北京": "LOC", "上海": "LOC"}),
    ("Ann works in Paris.", {"Ann": "PER", "Paris": "LOC"}),
):
    found = [marked(text, *pair) for pair in words.items()]
    with open("tasks.json", "w") as file:
        json.dump([{"id": 1, "data": {"text": text}, "annotations": [{"id": 1, "result": found}]}], file)
    converter = Converter(CONFIG, project_dir=None, download_resources=False)
    converter.convert_to_conll2003("tasks.json", "out", is_dir=False)
    with open("out/result.conll", encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("-DOCSTART-")]
    tags = counted(sum(line[-1].startswith("B-") for line in lines), "entity", "entities")
    pairs = ", ".join(f"{line[0]} {line[-1]}" for line in lines)
    print(f"{len(words)} entities marked: {counted(len(lines), 'token', 'tokens')}, {tags}: {pairs}")
PYTHON
mkdir home
HOME=$FOLDER/home python export.py >seen 2>log || { cat log; exit 1; }
expect seen
