"""benchmark/continued_pretraining.py without training: which text is learnt, which starts are compared, the tables."""

import json

import pytest

from benchmark import continued_pretraining as measured
from benchmark.continued_pretraining import NONE, OTHER, OWN, WHOLE, Films, report
from benchmark.parts.pretraining_cells import parser


def arguments(tmp_path, **changes):
    args = parser("a benchmark", [1, 2], tasks=()).parse_args(["--minutes", "1"])
    values = {"results": str(tmp_path / "results"), "work": str(tmp_path / "work"), "parts": ["films"], "steps": 40}
    for name, value in {**values, "base_steps": 20, "rate": 3e-4, "data": str(tmp_path), **changes}.items():
        setattr(args, name, value)
    return args


@pytest.fixture
def films(tmp_path, monkeypatch):
    """MiniLM and film reviews as the quickstart leaves them, and programs that say what they were asked."""
    source = tmp_path / "output" / "quickstart"
    (source / "model" / "params").mkdir(parents=True)
    (source / "data" / "SST-2").mkdir(parents=True)
    (source / "model" / "ernie_config.json").write_text("{}")
    (source / "data" / "SST-2" / "demo_data.json").write_text("{}")
    for part, count in (("train", 600), ("dev", 60)):
        rows = "".join(f"{number % 2}\tfilm {part} {number}\n" for number in range(count))
        (source / "data" / "SST-2" / f"{part}.tsv").write_text(f"label\ttext_a\n{rows}")
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    asked = {"built": [], "trained": [], "tuned": []}

    def pretrain(corpus, folder, entries, flags, threads, end):
        asked["trained"].append((entries, flags))
        return [{"event": "dev", "step": 40, "ppl": 9.0, "acc": 0.5}]

    def fine_tune(task, data, start, model, seed, threads, for_cn):
        assert for_cn == "false", "the blanks of English text are kept from both starts"
        asked["tuned"].append((start.name, seed))
        return {"acc": 0.7 + 0.01 * seed + 0.05 * (start.name == OWN), "rows": 60}

    monkeypatch.setattr(measured, "run_script", lambda script, flags, *more: asked["built"].append(flags))
    monkeypatch.setattr(measured, "pretrain", pretrain)
    monkeypatch.setattr(measured, "fine_tune", fine_tune)
    return asked


def test_rows_and_epochs_can_be_more(films, tmp_path):
    task = Films(arguments(tmp_path, rows=2, longer=3)).task
    assert (task.rows, task.epochs) == (2 * Films.task.rows, 3 * Films.task.epochs)


def test_films(films, tmp_path, capsys):
    args = arguments(tmp_path)
    assert measured.main(args) == 0
    ((entries, flags),) = films["trained"]
    assert (entries[0]["name"], entries[0]["steps"]) == (WHOLE, [40])
    assert flags["init_pretraining_params"] == tmp_path / "output/quickstart/model/params"
    assert (flags["learning_rate"], flags["warmup_steps"]) == (3e-4, 4)
    assert {flags["tasks"] for flags in films["built"]} == {WHOLE}
    assert sorted(films["tuned"]) == sorted((name, seed) for name in (NONE, OWN) for seed in (1, 2))
    shown = capsys.readouterr().out
    assert "films, text of the task's kind: 40 steps, held-out perplexity 9.0" in shown.splitlines()
    assert f"| {OWN} | 76.50 ± 0.71 | +5.00 (s.e. 0.00) |" in shown
    (folder,) = (tmp_path / "work").glob("films-*")
    texts = [text for part in ("train", "valid") for text in (folder / f"{part}.txt").read_text().split("\n\n")]
    (rows,) = folder.glob("tasks/*/train.tsv")
    labelled = {row.split("\t")[1] for row in rows.read_text().splitlines()[1:]}
    assert len(labelled) == 500
    assert {text.strip() for text in texts} == {f"film train {number}" for number in range(600)} - labelled
    measured.main(args)
    assert len(films["tuned"]) == 4, "cells are kept"


def test_what_was_not_measured_is_said(films, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measured, "pretrain", lambda *more: None)
    assert measured.main(arguments(tmp_path)) == 1
    assert f"| {OWN} | not measured | |" in capsys.readouterr().out
    assert {name for name, _ in films["tuned"]} == {NONE}


def test_a_table_of_three_starts(films, tmp_path, capsys):
    part = Films(arguments(tmp_path))
    assert report(part, {NONE: {1: 0.6, 2: 0.7}, OWN: {1: 0.7, 2: 0.8}, OTHER: {1: 0.6, 2: 0.7}}, [1, 2])
    shown = capsys.readouterr().out
    assert "| film reviews, 500 rows, further pre-training on | accuracy | gain over none |" in shown
    assert f"| {OTHER} | 65.00 ± 7.07 | +0.00 (s.e. 0.00) |" in shown
    assert not report(part, {NONE: {1: 0.6}, OWN: {}}, [1, 2])


def test_the_stages_of_the_chinese_encoder(monkeypatch, tmp_path):
    """News in short, then in long instances; from there reviews, or as many steps of news."""
    folder = tmp_path / "corpus"
    folder.mkdir()

    class Text:
        settings, counts, model = {"corpus": 1}, {}, folder / "model"

        def __init__(self, *given):
            self.folder = folder

        def build(self, name, part="", **flags):
            made = [folder / f"{name}{part}" / text for text in ("news", "reviews")]
            for place in made:
                (place / flags["tasks"]).mkdir(parents=True)
                (place / flags["tasks"] / "filelist").write_text("shards/a-00000.gz\t1\n")
            return made

    asked = []
    monkeypatch.setattr(measured, "Corpus", Text)
    monkeypatch.setattr(measured, "dev_texts", lambda data: None)
    monkeypatch.setattr(measured, "pretrain", lambda corpus, *more: asked.append(more) or [])
    monkeypatch.setattr(measured, "last_scores", lambda records: records)
    part = measured.ChnSentiCorp(arguments(tmp_path))
    first, second = part.jobs(type("Cells", (), {"threads": 1, "end": 0}))
    assert [list(first), list(second)] == [[NONE], [OWN, OTHER]]
    for jobs in (first, second):
        for _, run in jobs.values():
            run()
    (base, base_entries, _, *_), (_, own, own_flags, *_), (_, other, _, *_) = asked
    assert [name.split("/")[-3] for name in base_entries[0]["filelist"]] == ["short-news", "long-news"]
    assert base_entries[0]["steps"] == [1500, 20]
    assert own_flags["init_pretraining_params"] == base / "params"
    assert ["reviews/text.list" in entries[0]["filelist"] for entries in (own, other)] == [True, False]
    assert json.dumps(own)
    assert {start.params.parent for start in part.starts.values()} == {base, *part.folders.values()}
