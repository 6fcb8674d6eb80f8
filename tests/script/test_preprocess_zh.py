"""script/zh_task/preprocess/cvt.sh on rows in their owners' layouts, and on real data where they are."""

import json
import sys
from types import SimpleNamespace

import pytest

from propeller.errors import UserError
from script import conversion
from script.zh_task.preprocess.convert import OPENCC, simplify
from tests.helpers.common import ROOT, SHARED
from tests.helpers.shell import SCRIPT, clean_environment, shell

needs_data = pytest.mark.beside("data/zh")
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
    done = cvt("raw", "zh_data_processed", "--allow_refused", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "zh_data_processed", done.stdout


def test_every_table(converted):
    out, _ = converted
    made = {str(path.relative_to(out)): path.read_text(encoding="utf-8").splitlines() for path in out.rglob("*.tsv")}
    assert made == WANTED


def test_rows_are_counted_and_refused_with_reasons(converted):
    _, said = converted
    for line in (
        "raw/lcqmc/train.txt: 3 rows in, 1 row out, 2 refused -> zh_data_processed/lcqmc/train.tsv",
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
        ("nlpcc-dbqa/test.txt", "谁？\t甲\n谁？\n", "1 row refused, and a test set needs all"),
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
    """The published one was made with another tool, which leaves 佔, 崙 or 蹟 for 占, 仑 or 迹: the same questions and
    places, over 99.84% of the characters and 99.3% of the answers."""
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
    same = total = answers = 0
    for name, (context, question) in ours.items():
        other, published = theirs[name]
        assert len(context) == len(other)
        starts = [answer["answer_start"] for answer in question["answers"]]
        assert starts == [answer["answer_start"] for answer in published["answers"]]
        assert all(context.startswith(answer["text"], answer["answer_start"]) for answer in question["answers"])
        same += sum(map(str.__eq__, context, other))
        total += len(context)
        pairs = zip(question["answers"], published["answers"])
        answers += any(answer["text"] == gold["text"] for answer, gold in pairs)
    assert same / total > 0.9984
    assert answers / len(ours) > 0.993


def test_taiwans_text_has_its_own_table():
    assert simplify()("隨著抬頭") == "随着抬头"


def test_the_rewriting_of_opencc_in_python_is_told_apart(monkeypatch):
    """Both install a module of that name; the other one makes 擡 of 抬."""
    table = {"抬頭": "擡头"}
    other = SimpleNamespace(OpenCC=lambda name: SimpleNamespace(convert=table.get))
    monkeypatch.setitem(sys.modules, "opencc", other)
    with pytest.raises(UserError, match=r"uninstall -y opencc-python-reimplemented.*'OpenCC>=1\.1\.9,<2'"):
        simplify()
    monkeypatch.setitem(sys.modules, "opencc", None)
    with pytest.raises(UserError, match=r"install 'OpenCC>=1\.1\.9,<2'$"):
        simplify()
    assert f"{OPENCC} " in (ROOT / "requirements.txt").read_text()


def first_release(*asked):
    """CMRC2018's first layout; asked: the entries of qas."""
    return json.dumps(
        [{"context_id": "C", "context_text": "水磨高12米，造价3.50元，建于1850年。", "title": None, "qas": list(asked)}]
    )


def ask(name, *answers):
    return {"query_id": name, "query_text": "多少？", "answers": list(answers)}


def test_numbers_among_the_answers_become_text_and_other_shapes_are_refused_with_their_question(tmp_path):
    content = first_release(
        ask("first", 12, "12米"), ask("price", "3.50元"), ask("sheet", 1850.0), ask("null", None), ask("list", ["12"]),
        ask("truth", True), ask("none"), {"query_id": "gone", "query_text": "多少？"},
        {"query_text": "多少？", "answers": ["12"]},
        ask("nothing", 39935.0), "odd", None, {**ask("text", "12"), "answers": "12"}, ask(7, "12"), ask("7", "12"),
        {**ask("asked", "12"), "query_text": 5},
    )  # fmt: skip
    (tmp_path / "raw/cmrc2018").mkdir(parents=True)
    (tmp_path / "raw/cmrc2018/cmrc2018_dev.json").write_text(content, encoding="utf-8")
    done = cvt("raw", "out", "--allow_refused", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads((tmp_path / "out/cmrc2018/dev.json").read_text(encoding="utf-8"))
    answers = {
        asked["id"]: [answer["text"] for answer in asked["answers"]]
        for asked in made["data"][0]["paragraphs"][0]["qas"]
    }
    assert answers == {"first": ["12", "12米"], "price": ["3.50元"], "sheet": ["1850"], "7": ["12"]}
    said = done.stdout.splitlines()
    for line in (
        "raw/cmrc2018/cmrc2018_dev.json: 16 rows in, 4 rows out, 12 refused -> out/cmrc2018/dev.json",
        "    changed: 3 answers that were numbers became text",
        "    refused: 3 x an answer without a text (first: question null)",
        "    refused: 2 x no answer (first: question none)",
        "    refused: 2 x no id or no question (first: question number 9, without id)",
        "    refused: 1 x not an object but '\"odd\"' (first: question number 11, without id)",
        "    refused: 1 x answers that are no list (first: question text)",
        "    refused: 1 x an id that was there before (first: question 7)",
        "    refused: 1 x no answer of it is in its context (first: question nothing)",
    ):
        assert line in said, done.stdout


def test_one_unusable_file_does_not_stop_those_after_it(tmp_path):
    files = {
        "lcqmc/train.txt": "甲\t乙\t1\n".encode("gbk"),
        "bq/train.csv": b"a,b\n",
        "msra_ner/train.txt": "周0\tO\n六0\tO\n".encode(),
        "msra_ner/dev.txt": "赵 B-NAME\n明 E-NAME\n".encode(),
        "cmrc2018/cmrc2018_train.json": b'{"data": 7}',
        "cmrc2018/cmrc2018_dev.json": b'{"data": [',
        "dureader/dev.json": json.dumps(
            {
                "id": "a",
                "context": "水磨高12米。",
                "question": "多高？",
                "answers": {"text": ["12米"], "answer_start": [3]},
            }
        ).encode(),
    }
    for name, content in files.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(content)
    done = cvt("raw", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    for name, why in (
        ("lcqmc/train.txt, line 1", "looks like GBK"),
        ("bq/train.csv, line 1", "no column 'sentence1'"),
        ("msra_ner/train.txt", r"--strip_numbers true"),
        ("msra_ner/dev.txt", "not those of MSRA-NER ('B-NAME')"),
        ("cmrc2018/cmrc2018_train.json", "not SQuAD's layout"),
        ("cmrc2018/cmrc2018_dev.json", "not JSON"),
    ):
        assert f"raw/{name}: " in line
        assert why in line
    assert [path.name for path in sorted((tmp_path / "out").rglob("*.*")) if path.suffix != ".json"] == []
    made = json.loads((tmp_path / "out/dureader/dev.json").read_text(encoding="utf-8"))
    assert made["data"][0]["paragraphs"][0]["qas"][0]["answers"] == [{"text": "12米", "answer_start": 3}]


def test_what_a_reader_would_refuse_is_removed(tmp_path):
    report = conversion.Report()
    with report.file("in.txt"):
        rows = [(1, ["text", "not a number"])]
        report.convert(tmp_path / "in.txt", tmp_path / "out.tsv", ("text_a", "label"), rows)
    assert not (tmp_path / "out.tsv").exists()
    with pytest.raises(
        UserError, match=r"could not be read back, so it was removed: .*out.tsv, line 2: label 'not a number'"
    ):
        report.finish(tmp_path)


def test_no_byte_order_mark_is_passed_on(tmp_path):
    files = {
        "lcqmc/train.txt": "\ufeff甲\t乙\t1\n\ufeff丙\t丁\t0\n",
        "bq/train.csv": "\ufeffsentence1,sentence2,label\n甲,乙,1\n",
        "msra_ner/train.txt": "\ufeff赵 B-PER\n明 I-PER\n",
        "tnews/labels.txt": "\ufeffnews_story\n",
        "tnews/dev.tsv": "\ufeff甲\tnews_story\n",
        "cmrc2018/cmrc2018_dev.json": "\ufeff" + first_release(ask("a", "12")),
    }
    for name, content in files.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text(content, encoding="utf-8")
    done = cvt("raw", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(made) == 7
    assert not any("\ufeff" in path.read_text(encoding="utf-8") for path in made)


def test_a_test_set_whose_answers_are_placeholders_is_written_without_them(tmp_path):
    """CLUE's test set of CMRC2018 has FAKE_ANSWER_1 to 3 for every question."""
    fake = [{"text": f"FAKE_ANSWER_{n}", "answer_start": -1} for n in (1, 2, 3)]
    for split, answers in (("train", [{"text": "灯塔", "answer_start": 4}]), ("test", fake)):
        entry = {"id": f"{split}_1", "question": "有什么？", "answers": answers}
        document = {"version": "1", "data": [{"paragraphs": [{"context": "运河边有灯塔。", "qas": [entry]}]}]}
        (tmp_path / "cmrc2018").mkdir(exist_ok=True)
        path = tmp_path / "cmrc2018" / f"cmrc2018_{split}.json"
        path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf8")
    done = cvt(tmp_path, tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "none of the answers stands in its context: they are not published, and left out" in done.stdout
    (article,) = json.loads((tmp_path / "out/cmrc2018/test.json").read_text(encoding="utf8"))["data"]
    assert article["paragraphs"][0]["qas"][0]["answers"] == []
