"""script/zh_task/preprocess/cvt.sh on rows in their owners' layouts, and on real data where they are."""

import json
import sys

import pytest

from tests.common import SHARED
from tests.shell import SCRIPT, clean_environment, shell

needs_data = pytest.mark.skipif(not (SHARED / "data" / "zh").is_dir(), reason="../shared/data/zh is not here")
XNLI = "language\tgold_label\tsentence1_binary_parse\tsentence1\tsentence2\tpairID\n"
CONTEXT = "後來威廉發現印歐語系，也要歸功於對梵語的研究。"
RAW = {
    "lcqmc/train.txt": "开初婚？\t初婚？\t1\n谁知道\t什么歌\n没有\t标签\tx\n",
    "lcqmc/dev.txt": 'sentence1\tsentence2\tlabel\n"引号\t吗\t0\n',
    "bq/train.csv": 'sentence1,sentence2,label\n"微粒贷,是什么",“怎么”还,1\n他说""好"",好,0\n只有一个,1\n',
    "tnews/labels.txt": "news_story\nnews_car\n",
    "tnews/dev.tsv": "江疏影\tnews_car\n以色列\tnews_moon\n",
    "chnsenticorp/dev.tsv": "label\ttext_a\n1\t這間酒店\n2\t不知\n",
    "msra_ner/msra_train_bio.txt": "中 B-LOC\n国 I-LOC\n很 O\n\n好\n人 O\n\n他 O\n去 B-XYZ\n\n我\tO\n",
    "xnli/xnli.dev.tsv": XNLI
    + "ar\tneutral\t(x)\ta\tb\t1\nzh\tneutral\t(x)\t他说，妈妈\t校车\t1\nzh\tmaybe\t(x)\ta\tb\t2\n",
    "xnli/multinli.train.zh.tsv": "premise\thypo\tlabel\n"
    + "从 概念 上\t产品\tcontradictory\n你 知道\t你 失去\tentailment\n",
    "nlpcc-dbqa/nlpcc-iccpol-2016.dbqa.training-data": "谁？\t甲\t0\n谁？\t乙\t1\n哪？\t丙\t0\n哪？\t丁\n",
    "nlpcc-dbqa/nlpcc-iccpol-2016.dbqa.testing-data": "谁？\t甲\n哪？\t乙\n",
    "thuc/cnews.val.txt": "体育\t马晓旭\n娱乐\t电影\n天气\t晴\n",
    "cmrc2018/cmrc2018_train.json": json.dumps(
        [
            {
                "context_id": "T1",
                "context_text": "北京是首都。",
                "title": "北京",
                "qas": [
                    {"query_id": "T1_1", "query_text": "首都？", "answers": ["北京"]},
                    {"query_id": "T1_2", "query_text": "哪里？", "answers": ["上海"]},
                    {"query_id": "T1_1", "query_text": "再问？", "answers": ["首都"]},
                ],
            }
        ]
    ),
    "drcd/DRCD_dev.json": json.dumps(
        {
            "version": "1.3",
            "data": [
                {
                    "title": "梵語",
                    "id": "1",
                    "paragraphs": [
                        {
                            "id": "1-1",
                            "context": CONTEXT,
                            "qas": [
                                {
                                    "id": "1-1-1",
                                    "question": "誰發現的？",
                                    "answers": [{"id": "1", "text": "威廉", "answer_start": CONTEXT.index("威廉")}],
                                },
                                {
                                    "id": "1-1-2",
                                    "question": "發現什麼？",
                                    "answers": [{"id": "1", "text": "印歐語系", "answer_start": 3}],
                                },
                            ],
                        }
                    ],
                }
            ],
        }
    ),
}
WANTED = {
    "lcqmc/train.tsv": ["text_a\ttext_b\tlabel", "开初婚？\t初婚？\t1"],
    "lcqmc/dev.tsv": ["text_a\ttext_b\tlabel", '"引号\t吗\t0'],
    "bq/train.tsv": ["text_a\ttext_b\tlabel", "微粒贷,是什么\t“怎么”还\t1", '他说""好""\t好\t0'],
    "tnews/dev.tsv": ["text_a\tlabel", "江疏影\tnews_car"],
    "chnsenticorp/dev.tsv": ["text_a\tlabel", "這間酒店\t1"],
    "msra_ner/train.tsv": ["text_a\tlabel", "中\x02国\x02很\tB-LOC\x02I-LOC\x02O", "我\tO"],
    "xnli/dev.tsv": ["text_a\ttext_b\tlabel", "他说，妈妈\t校车\tneutral"],
    "xnli/train.tsv": ["text_a\ttext_b\tlabel", "从 概念 上\t产品\tcontradiction", "你 知道\t你 失去\tentailment"],
    "nlpcc-dbqa/train.tsv": ["qid\ttext_a\ttext_b\tlabel", "0\t谁？\t甲\t0", "0\t谁？\t乙\t1", "1\t哪？\t丙\t0"],
    "nlpcc-dbqa/test.tsv": ["qid\ttext_a\ttext_b", "0\t谁？\t甲", "1\t哪？\t乙"],
    "thuc/dev.tsv": ["text_a\tlabel", "马晓旭\t0", "电影\t9"],
}


def cvt(*arguments, cwd):
    command = ["sh", str(SCRIPT / "zh_task/preprocess/cvt.sh"), *map(str, arguments)]
    return shell(command, cwd=cwd, env=clean_environment(PYTHON=sys.executable))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zh")
    for name, text in RAW.items():
        (folder / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "raw" / name).write_text(text, encoding="utf-8")
    done = cvt("raw", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "zh_data_processed", done.stdout


def test_every_table(converted):
    out, _ = converted
    made = {str(path.relative_to(out)): path.read_text(encoding="utf-8").splitlines() for path in out.rglob("*.tsv")}
    assert made == WANTED


def test_rows_are_counted_and_refused_with_reasons(converted):
    _, said = converted
    for line in (
        "raw/lcqmc/train.txt: 3 rows in, 1 rows out, 2 refused -> zh_data_processed/lcqmc/train.tsv",
        "    refused: 1 x 2 fields where there should be 3 (first: line 2)",
        "    refused: 1 x unknown label 'x' (first: line 3)",
        "    refused: 1 x 2 fields where the header has 3 (first: line 4)",
        "    refused: 1 x unknown label 'news_moon' (first: line 2)",
        "    refused: 1 x another language than zh (first: line 2)",
        "    refused: 1 x a line of its sentence has no tag (first: line 5)",
        "    refused: 1 x unknown tag 'B-XYZ' (first: line 8)",
        "    refused: 1 x unknown label '天气' (first: line 3)",
        "    refused: 1 x no answer of it is in its context (first: question T1_2)",
        "    refused: 1 x an id that was there before (first: question T1_1)",
        "raw/drcd/DRCD_dev.json: 2 rows in, 2 rows out, 0 refused -> zh_data_processed/drcd/dev.json",
        "raw/dureader: not there, left out",
    ):
        assert line in said.splitlines()


def test_label_maps(converted):
    out, _ = converted
    maps = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in out.rglob("label_map.json")}
    assert maps["tnews"] == {"news_story": 0, "news_car": 1}
    assert maps["xnli"] == {"contradiction": 0, "entailment": 1, "neutral": 2}
    assert set(maps["msra_ner"]) == {"B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "O"}
    assert len(maps["thuc"]) == 10


def test_reading_comprehension(converted):
    out, _ = converted
    cmrc = json.loads((out / "cmrc2018/train.json").read_text(encoding="utf-8"))
    (paragraph,) = cmrc["data"][0]["paragraphs"]
    assert paragraph["context"] == "北京是首都。"
    assert paragraph["qas"] == [{"id": "T1_1", "question": "首都？", "answers": [{"text": "北京"}]}]
    drcd = json.loads((out / "drcd/dev.json").read_text(encoding="utf-8"))
    assert drcd["data"][0]["title"] == "梵语"
    (paragraph,) = drcd["data"][0]["paragraphs"]
    assert paragraph["context"] == "后来威廉发现印欧语系，也要归功于对梵语的研究。"
    first, second = paragraph["qas"]
    assert (first["question"], first["answers"][0]["text"]) == ("谁发现的？", "威廉")
    # Its answer_start was wrong: the place of the text that is nearest to it.
    assert second["answers"] == [{"id": "1", "text": "印欧语系", "answer_start": CONTEXT.index("印歐")}]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cmrc2018/cmrc2018_dev.json", "{", "not JSON"),
        ("cmrc2018/cmrc2018_dev.json", '{"data": [{"paragraphs": [{}]}]}', "not SQuAD's layout"),
        ("bq/dev.csv", "a,b\n", "no column 'sentence1'"),
        ("tnews/dev.tsv", "a\tb\n", "labels.txt: not there"),
        ("lcqmc/dev.txt", "a b 1\n", "there is no good row in it"),
        ("nlpcc-dbqa/test.txt", "谁？\t甲\n谁？\n", "1 rows refused, and a test set needs all"),
    ],
)
def test_bad_files(tmp_path, name, text, words):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text(text, encoding="utf-8")
    done = cvt(tmp_path, "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@needs_data
def test_real_tables_and_tags_come_back(tmp_path):
    """LCQMC and TNEWS as they are; MSRA-NER written out as BIO lines gives the sentences it was made from."""
    real = SHARED / "data" / "zh"
    for folder in ("lcqmc", "tnews", "msra_ner"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lcqmc/dev.txt").write_bytes((real / "lcqmc/dev.tsv").read_bytes())
    for name in ("dev.tsv", "labels.txt"):
        (tmp_path / "tnews" / name).write_bytes((real / "tnews" / name).read_bytes())
    sentences = (real / "msra_ner/dev.tsv").read_text(encoding="utf-8").split("\n")[1:-1]
    with open(tmp_path / "msra_ner/dev.txt", "w", encoding="utf-8") as file:
        for sentence in sentences:
            items, tags = (field.split("\x02") for field in sentence.split("\t"))
            file.write("".join(f"{item} {tag}\n" for item, tag in zip(items, tags)) + "\n")
    done = cvt(tmp_path, tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "8802 rows in, 8802 rows out, 0 refused" in done.stdout
    assert "10000 rows in, 10000 rows out, 0 refused" in done.stdout
    assert (tmp_path / "out/msra_ner/dev.tsv").read_text(encoding="utf-8").split("\n")[1:-1] == sentences


@needs_data
def test_drcd_is_simplified_like_the_published_one(tmp_path):
    """The published one was made with another tool: the same questions and places, 99.5% of the characters."""
    real = SHARED / "data" / "zh" / "drcd"
    (tmp_path / "drcd").mkdir()
    (tmp_path / "drcd/DRCD_dev.json").write_bytes((real / "dev_traditional.json").read_bytes())
    done = cvt(tmp_path, tmp_path / "out", cwd=tmp_path)
    assert "3524 rows in, 3524 rows out, 0 refused" in done.stdout

    def questions(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        paragraphs = [paragraph for article in document["data"] for paragraph in article["paragraphs"]]
        return {
            question["id"]: (paragraph["context"], question)
            for paragraph in paragraphs
            for question in paragraph["qas"]
        }

    ours, theirs = questions(tmp_path / "out/drcd/dev.json"), questions(real / "dev.json")
    assert ours.keys() == theirs.keys()
    same = total = 0
    for name, (context, question) in ours.items():
        other, published = theirs[name]
        assert len(context) == len(other)
        starts = [answer["answer_start"] for answer in question["answers"]]
        assert starts == [answer["answer_start"] for answer in published["answers"]]
        assert all(context.startswith(answer["text"], answer["answer_start"]) for answer in question["answers"])
        same += sum(map(str.__eq__, context, other))
        total += len(context)
    assert same / total > 0.995
