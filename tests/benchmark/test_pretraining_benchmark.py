"""The benchmarks of pre-training: no dev text stays in the corpus, rows are drawn alike, gains are told as they are."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark import pretraining
from benchmark.parts import pretraining_runs
from benchmark.parts.common import arguments
from benchmark.parts.pretraining_cells import TASKS, Cells, Start, chosen, fine_tuning_cell, gain, parser, spread
from benchmark.parts.pretraining_corpus import SHARED_RUN, STOPPED, DevTexts, clean, join_lists, run_script, text_key
from propeller.errors import UserError
from tests.helpers.common import ROOT

REVIEW = "房间很大,服务员的态度也非常好,早餐的种类稍微少了一点"
CLASSES, TAGS, PAIRS = TASKS


def test_a_key_is_without_case_width_blanks_and_punctuation():
    assert text_key(" ＡＢＣ，　ｄ１２！房 间。") == text_key("abc d12 房间") == "abcd12房间"
    assert text_key("①ﬁ—…~~") == "1fi"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REVIEW, "holds"),
        (f"昨天住的。{REVIEW.replace(',', '，').replace('的', ' 的')}！下次还来", "holds"),
        (REVIEW[: SHARED_RUN + 3], "shares"),  # 20 characters and two commas: a part of a dev text
        ("以前写过：" + REVIEW[-SHARED_RUN - 1 :], "shares"),
        (REVIEW[: SHARED_RUN - 3], None),
        ("很好", "holds"),  # short dev texts only where they are all there is
        ("酒店很好，很满意", None),
        ("", None),
    ],
)
def test_a_document_goes_that_holds_a_dev_text_or_shares_much_with_one(text, reason):
    assert DevTexts([REVIEW, "很好！", "　。"]).reason(text_key(text)) == reason


def test_cleaning_counts_what_it_drops_and_keeps_the_order():
    documents = ["乙", "甲 ", "甲。", REVIEW, f"{REVIEW}。又及", REVIEW[: SHARED_RUN + 4], "!!", "丙"]
    kept, counts = clean(documents, str, DevTexts([REVIEW]))
    assert kept == ["乙", "甲 ", "丙"]
    assert counts == {"documents": 8, "double": 2, "holds": 2, "shares": 1, "kept": 3}
    assert counts["documents"] == sum(counts.values()) - counts["documents"]


def write_rows(folder, task, rows):
    (folder / task.folder).mkdir(parents=True)
    for part in ("train", "dev"):
        text = "".join("\t".join(row) + "\n" for row in rows)
        (folder / task.folder / f"{part}.tsv").write_text(text, encoding="utf-8")


def test_rows_are_drawn_once_and_as_many_of_each_class(tmp_path):
    write_rows(tmp_path, PAIRS, [(f"问{n}", f"答{n}", str(int(n % 4 == 0))) for n in range(400)])
    task = replace(PAIRS, rows=60, dev_rows=1000)
    for out in ("one", "two"):
        task.prepare(tmp_path, tmp_path / out)
    for part, count in (("train", 60), ("dev", 200)):  # 100 rows are of the smaller class
        header, *rows = (tmp_path / f"one/{part}.tsv").read_text(encoding="utf-8").splitlines()
        assert header.split("\t") == ["text_a", "text_b", "label"]
        assert len(rows) == len(set(rows)) == count
        assert sum(row.endswith("\t1") for row in rows) == count // 2
        assert (tmp_path / f"two/{part}.tsv").read_text(encoding="utf-8").splitlines()[1:] == rows


def test_dev_texts_are_of_every_text_column(tmp_path):
    write_rows(tmp_path, PAIRS, [("问一", "答一", "0"), ("问二", "答二", "1")])
    write_rows(tmp_path, CLASSES, [("label", "text_a"), ("1", REVIEW)])
    assert PAIRS.dev_texts(tmp_path) == ["问一", "答一", "问二", "答二"]
    assert CLASSES.dev_texts(tmp_path) == [REVIEW]
    with pytest.raises(UserError, match="give --data"):
        TAGS.dev_texts(tmp_path)


def test_paths_of_a_joint_list_count_from_it(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "filelist").write_text(f"shards/{name}.gz\t1\n")
    target = join_lists([tmp_path / "a/filelist", tmp_path / "b/filelist"], tmp_path / "all.list")
    assert target.read_text() == "a/shards/a.gz\t1\nb/shards/b.gz\t1\n"


# ---------------------------------------------------------------- figures


def scores(random, char, knowledge):
    starts = zip((pretraining.RANDOM, pretraining.CHAR, pretraining.KNOWLEDGE), (random, char, knowledge))
    return {start: dict(zip((1, 2, 3), values)) for start, values in starts}


def test_a_gain_is_the_mean_of_the_differences_by_seed():
    mean, error = gain({1: 0.80, 2: 0.84, 3: 0.82}, {3: 0.80, 2: 0.80, 1: 0.80})
    assert mean == pytest.approx(2.0)
    assert error == pytest.approx(2 / 3**0.5)
    assert gain({1: 0.5}, {1: 0.75}) == (-25.0, 0.0)
    assert spread([0.8, 0.82, 0.84]) == "82.00 ± 2.00"
    assert spread([0.5]) == "50.00"


@pytest.mark.parametrize(
    ("knowledge", "met"), [((0.82, 0.83, 0.84), True), ((0.81, 0.82, 0.82), False), ((0.7,) * 3, False)]
)
def test_the_verdict_asks_for_what_is_expected(knowledge, met):
    assert pretraining.verdict(CLASSES, scores((0.8,) * 3, (0.81,) * 3, knowledge))[2] is met
    assert pretraining.verdict(TAGS, scores((0.8,) * 3, (0.81,) * 3, knowledge))[2] is False, "F1: 5 points"


def test_the_report_fails_where_a_gain_or_a_cell_is_missing(capsys):
    good = {task.name: scores((0.5,) * 3, (0.6,) * 3, (0.7,) * 3) for task in TASKS}
    assert pretraining.report(good, TASKS, [1, 2, 3])
    shown = capsys.readouterr().out
    assert shown.count("met") == len(TASKS)
    assert "missed" not in shown
    assert "| MSRA-NER, F1 | 50.00 ± 0.00 | 60.00 ± 0.00 | 70.00 ± 0.00 | **+20.00** (s.e. 0.00), 5: met |" in shown
    bad = {**good, "AFQMC": scores((0.5,) * 3, (0.6,) * 3, (0.5, 0.5, 0.51))}
    assert not pretraining.report(bad, TASKS, [1, 2, 3])
    assert "**missed**" in capsys.readouterr().out
    cut = {**good, "AFQMC": scores((0.5,) * 3, (0.6,), (0.7,) * 3)}
    assert not pretraining.report(cut, TASKS, [1, 2, 3]), "char masking was not measured for all seeds"
    none = {**good, "AFQMC": scores((), (), ())}
    assert not pretraining.report(none, TASKS, [1, 2, 3])
    assert "not measured" in capsys.readouterr().out


# ---------------------------------------------------------------- pre-trainings


class Corpus:
    """Folders of benchmark.parts.pretraining_corpus.Corpus, without text."""

    def __init__(self, folder):
        self.folder, self.vocab, self.built = folder, folder / "vocab.txt", []

    def build(self, name, part, **flags):
        self.built.append((name, part, flags))
        folder = self.folder / f"{name}{part}/news"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "filelist").write_text("shards/news-00000.gz\t1\n")
        return [folder]


def pretrainings(folder, short_steps=20, steps=40):
    """(ShortStage, Pretraining), not run."""
    corpus = Corpus(folder)
    short = pretraining_runs.ShortStage(corpus, short_steps)
    return short, pretraining.Pretraining(corpus, SimpleNamespace(steps=steps), short, end=5.0)


def test_both_pretrainings_go_on_from_the_short_instances_and_differ_in_what_is_masked(tmp_path, monkeypatch):
    calls = []

    def train(script, flags, log, threads, end):
        calls.append((script, flags, threads, end))
        flags["checkpoints"].mkdir()
        (flags["checkpoints"] / "metrics.jsonl").write_text('{"event": "dev", "step": 9, "ppl": 80.5, "acc": 0.25}\n')
        return True

    monkeypatch.setattr(pretraining_runs, "run_script", train)
    short, long = pretrainings(tmp_path)
    lengths = [(name, part, flags["max_seq_len"]) for name, part, flags in long.corpus.built]
    assert lengths == [("short", "", 12), ("short", "_valid", 12), ("pairs", "", 64), ("pairs", "_valid", 64)]
    assert short.run(threads=1, end=5.0) == {"steps": 9, "ppl": 80.5, "acc": 0.25}
    for name in (pretraining.KNOWLEDGE, pretraining.CHAR):
        assert long.run(name, threads=1) == {"steps": 9, "ppl": 80.5, "acc": 0.25}
    first, *others = [flags for script, flags, threads, end in calls if (script, threads, end) == ("train.py", 1, 5.0)]
    assert "init_pretraining_params" not in first
    assert (first["max_seq_len"], first["mask_units"], first["warmup_steps"]) == (12, "basic", 2)
    for flags in others:
        assert flags["init_pretraining_params"] == first["checkpoints"] / "params"
    knowledge, char = others
    assert (knowledge["mask_units"], char["mask_units"]) == ("basic:0,phrase:20,entity:30", "basic")
    assert {name for name in char if char[name] != knowledge[name]} == {"mask_units", "task_list", "checkpoints"}
    for flags, length, steps in ((first, "short", 20), (knowledge, "pairs", 40), (char, "pairs", 40)):
        (task,) = json.loads(flags["task_list"].read_text())["tasks"]
        head = {"next_sentence": length == "pairs"}
        assert (task["name"], task["head"], task["steps"]) == ("knowledge_masking", head, [steps])
        assert task["filelist"] == str(tmp_path / f"{length}.list")


def test_a_pretraining_that_was_stopped_has_no_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining_runs, "run_script", lambda *_: False)
    short, long = pretrainings(tmp_path)
    assert short.run(threads=1, end=0) is None
    assert long.run(pretraining.CHAR, threads=1) is None


def test_a_pretraining_has_another_folder_where_what_it_depends_on_is_another(tmp_path):
    def folders(**steps):
        short, long = pretrainings(tmp_path, **steps)
        return [short.folder.name, *(long.folder(name).name for name in (pretraining.KNOWLEDGE, pretraining.CHAR))]

    short, knowledge, char = folders(short_steps=20, steps=40)
    assert len({short, knowledge, char}) == 3
    assert folders(short_steps=20, steps=40) == [short, knowledge, char]
    assert folders(short_steps=20, steps=50)[0] == short
    assert not {knowledge, char} & {*folders(short_steps=20, steps=50), *folders(short_steps=30, steps=40)}


def test_cells_are_found_by_task_start_seed_rows_and_epochs():
    args = parser("a benchmark", [1]).parse_args(["--tasks", "MSRA-NER", "--rows", "2", "--longer", "3"])
    (more,) = chosen(args)
    assert more == replace(TAGS, rows=2 * TAGS.rows, epochs=3 * TAGS.epochs)
    assert chosen(parser("a benchmark", [1]).parse_args([])) == list(TASKS)
    random, char, knowledge = starts = [
        Start("random"),
        Start("char", Path("char-1/params")),
        Start("k", Path("k-1/p")),
    ]
    found = {fine_tuning_cell(TAGS, char, 2): {"f1": 0.25, "rows": 3}}
    found[fine_tuning_cell(more, knowledge, 2)] = {"f1": 0.75, "rows": 3}
    assert pretraining.score_table(found, [TAGS], starts, [1, 2])["MSRA-NER"] == {
        "random": {},
        "char": {2: 0.25},
        "k": {},
    }
    assert pretraining.score_table(found, [more], starts, [2])["MSRA-NER"]["k"] == {2: 0.75}
    others = [Start("random"), char._replace(params=Path("char-2/params")), knowledge]
    assert pretraining.score_table(found, [TAGS], others, [2])["MSRA-NER"]["char"] == {}, "other weights of that name"
    assert pretraining.score_table(found, [replace(TAGS, learning_rate=1e-4)], starts, [2])["MSRA-NER"]["char"] == {}


# ---------------------------------------------------------------- cells and runs


def cells(tmp_path, minutes):
    return Cells("pays", arguments("a benchmark").parse_args(["--minutes", str(minutes)]), {}, tmp_path)


def test_cells_are_kept_as_they_come_and_what_was_stopped_is_called_again(tmp_path, capsys):
    calls = []

    def measure(name, result):
        return lambda: calls.append(name) or result

    first = cells(tmp_path, 1).together({"one": measure("one", {"acc": 0.5}), "two": measure("two", None)})
    assert first == {"one": {"acc": 0.5}}
    assert "used up before two" in capsys.readouterr().err
    assert cells(tmp_path, 0).together({"one": measure("one", None), "two": measure("two", {"acc": 1})}) == first
    assert sorted(calls) == ["one", "two"], "no minutes: nothing is begun"
    both = cells(tmp_path, 1).together({"one": measure("one", None), "two": measure("two", {"acc": 1})})
    assert both == {"one": {"acc": 0.5}, "two": {"acc": 1}}
    assert calls[2:] == ["two"]
    jobs = {1: ("one", measure("one", None)), (2, "b"): ("two", measure("two", None)), 3: ("three", measure("3", None))}
    assert cells(tmp_path, 1).keyed(jobs) == {1: {"acc": 0.5}, (2, "b"): {"acc": 1}}
    assert calls[3:] == ["3"]


def test_a_cell_that_fails_ends_the_benchmark_and_what_ran_beside_it_is_kept(tmp_path):
    calls = []

    def fail():
        raise UserError("cut off")

    def slow(name):
        def measure():
            calls.append(name)
            time.sleep(0.3)
            return {"acc": 1}

        return measure

    with pytest.raises(UserError, match="cut off"):
        cells(tmp_path, 1).together({"beside": slow("beside"), "bad": fail, **{str(n): slow(str(n)) for n in range(9)}})
    assert json.loads((tmp_path / "pays.json").read_text())["cells"]["beside"] == {"acc": 1}
    assert len(calls) < 5


def test_a_run_is_stopped_at_its_end_and_a_failed_one_says_why(tmp_path, monkeypatch):
    (tmp_path / "waits.py").write_text(
        f"import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit({STOPPED}))\n"
        "print('begun', flush=True)\ntime.sleep(60)\n"
    )
    (tmp_path / "fails.py").write_text(
        "import sys\nprint('first')\nsys.exit('the reason: ' + ' '.join(sys.argv[1:]))\n"
    )
    monkeypatch.setattr("benchmark.parts.pretraining_corpus.ROOT", tmp_path)
    begin, log = time.monotonic(), tmp_path / "log"
    assert run_script("waits.py", {}, log, 1, begin + 2) is False
    assert "begun" in log.read_text()
    with pytest.raises(UserError, match="fails.py ended with 1: the reason: --seeds 1 2 --out x; all it said is in"):
        run_script("fails.py", {"seeds": [1, 2], "out": "x"}, log, 1)
    assert run_script("-m this", {}, log, 1, time.monotonic() + 60) is True


def test_the_modules_import_no_paddle_and_help_shows_the_command():
    for name in ("pretraining", "continual"):
        code = "import runpy, sys; sys.modules['paddle'] = None; sys.argv = ['x', '--help']; "
        code += f"runpy.run_path('benchmark/{name}.py', run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert f"python benchmark/{name}.py" in done.stdout
