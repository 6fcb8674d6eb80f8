"""script/report.py on made-up runs: the table of the seeds, and the leaderboard's zip."""

import json
import re
import sys
import zipfile

import pytest

from propeller.errors import UserError
from script import report
from script.glue_tasks import LEADERBOARD
from tests.helpers.common import ROOT, SHARED
from tests.helpers.shell import SCRIPT, clean_environment, shell
from tests.helpers.tiny import sentences, write_tsv

PROBS = "[0.1 0.9]"


def make_run(folder, dev, best=30, last=40, finished=True, test=None, dev_files=("/d/dev.tsv",)):
    """A seed's folder. dev, test: dict of scores at the best step; the second dev file is a hundredth better."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"finished": finished, "steps": last, "best_step": best}))
    records = [{"event": "train", "step": 10, "epoch": 0, "loss": 0.5, "acc": 0.1, "speed": 2.0}]
    for step, change in ((best, 0.0), (last, -0.05)):
        for place, path in enumerate(dev_files):
            scores = {name: value + change + 0.01 * place for name, value in dev.items()}
            records.append(
                {"event": "dev", "step": step, "epoch": 1, "file": path, "loss": 0.3, "data_num": 9, **scores}
            )
    for checkpoint, step, change in (("last", last, -0.05), ("best", best, 0.0)):
        if test and (checkpoint == "last" or best != last):
            scores = {name: value + (change if best != last else 0) for name, value in test.items()}
            record = {"event": "test", "step": step, "epoch": 1, "file": "/d/test.tsv", "loss": 0.3, "elapsed": 1.0}
            records.append({**record, "checkpoint": checkpoint, **scores})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def rows_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]


def test_median_mean_and_best_of_the_best_checkpoints_beside_the_published(tmp_path):
    for seed, value in enumerate([0.60, 0.70, 0.62, 0.66, 0.61], start=1):
        make_run(tmp_path / f"en_glue/ernie_large/CoLA/seed_{seed}", {"matthews_corrcoef": value})
    make_run(tmp_path / "en_glue/ernie_large/CoLA/seed_10", {"matthews_corrcoef": 0.9}, finished=False)
    runs, unfinished = report.find_runs(tmp_path)
    assert [run.folder.name for run in runs["en_glue/ernie_large/CoLA"]] == [f"seed_{seed}" for seed in range(1, 6)]
    assert [folder.name for folder in unfinished] == ["seed_10"]
    assert rows_of(report.table(runs)) == [
        ["en_glue/ernie_large/CoLA", "dev.tsv", "matthews_corrcoef", "62.00", "63.80", "70.00", "5", "65.4", ""],
        ["en_glue/ernie_large/CoLA", "test", "matthews_corrcoef", "", "", "", "0", "63.5", ""],
    ]


def test_labelled_test_sets_are_those_of_the_same_checkpoint(tmp_path):
    make_run(tmp_path / "zh_task/ernie_base/bq/seed_1", {"acc": 0.85}, test={"acc": 0.84})
    make_run(tmp_path / "zh_task/ernie_base/lcqmc/seed_1", {"acc": 0.85}, best=40, last=40, test={"acc": 0.87})
    rows = rows_of(report.table(report.find_runs(tmp_path)[0]))
    assert [row[:4] + row[7:] for row in rows] == [
        ["zh_task/ernie_base/bq", "dev.tsv", "acc", "85.00", "86.4", "86.1"],
        ["zh_task/ernie_base/bq", "test.tsv", "acc", "84.00", "85.0", "84.8"],
        ["zh_task/ernie_base/lcqmc", "dev.tsv", "acc", "80.00", "90.9", "89.7"],
        ["zh_task/ernie_base/lcqmc", "test.tsv", "acc", "87.00", "87.9", "87.4"],
    ]


def test_several_dev_files_and_scores_in_percent_already(tmp_path):
    folder = tmp_path / "en_glue/ernie_large/MNLI/seed_1"
    make_run(folder, {"acc": 0.88}, dev_files=("/d/MNLI/m/dev.tsv", "/d/MNLI/mm/dev.tsv"))
    make_run(tmp_path / "zh_task/ernie_large/drcd/seed_1", {"em": 88.5, "f1": 93.8, "avg": 91.15})
    rows = {tuple(row[:3]): row[3:] for row in rows_of(report.table(report.find_runs(tmp_path)[0]))}
    assert rows["en_glue/ernie_large/MNLI", "m/dev.tsv", "acc"] == ["88.00", "88.00", "88.00", "1", "89.1", ""]
    assert rows["en_glue/ernie_large/MNLI", "mm/dev.tsv", "acc"][0] == "89.00"
    assert rows["en_glue/ernie_large/MNLI", "test 2", "acc"][3:] == ["0", "88.8", ""]
    assert rows["zh_task/ernie_large/drcd", "dev.tsv", "em"] == ["88.50", "88.50", "88.50", "1", "89.7", ""]


def test_no_runs_and_broken_runs_are_named(tmp_path):
    with pytest.raises(UserError, match="no finished run"):
        report.find_runs(tmp_path)
    folder = make_run(tmp_path / "zh_task/ernie_base/bq/seed_1", {"acc": 0.8})
    (folder / "metrics.jsonl").write_text('{"event": "dev"\n')
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: not JSON"):
        report.find_runs(tmp_path)


def make_glue(output, model="ernie_base", seeds=(0.5, 0.9, 0.7)):
    """Runs of all tasks, with predictions of every row; the class is the seed's number modulo the classes."""
    for task, files in LEADERBOARD.items():
        score = report.RANKED_BY.get(task, "acc")
        for seed, value in enumerate(seeds, start=1):
            folder = make_run(output / f"en_glue/{model}/{task}/seed_{seed}", {score: value})
            for _, source, count in files:
                count = min(count, 20) if seed != 2 else count  # only the best seed is complete
                made = f"{seed}.25\t[{seed}.25]" if task == "STS-B" else f"{seed % 2}.0\t{PROBS}"
                if task == "MNLI":
                    made = f"2.0\t{PROBS}"
                (folder / f"{source}.1.30").write_text("".join(f"{index}\t{made}\n" for index in range(count)))
                (folder / f"{source}.2.40").write_text("not to be taken\n")


def test_the_zip_of_the_leaderboard(tmp_path):
    make_glue(tmp_path)
    target = tmp_path / "glue.zip"
    command = [sys.executable, str(ROOT / "script/report.py"), "--output", str(tmp_path), "--zip", str(target)]
    done = shell([*command, "--markdown", str(tmp_path / "table.md")])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.md").read_text() == done.stdout
    with zipfile.ZipFile(target) as archive:
        files = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    assert set(files) == {
        *("CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv", "MNLI-mm.tsv"),
        *("QNLI.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv"),
    }
    assert {lines[0] for lines in files.values()} == {"index\tprediction"}
    first = {name: lines[1] for name, lines in files.items()}
    assert first["CoLA.tsv"] == "0\t0"
    assert first["STS-B.tsv"] == "0\t2.250"
    assert first["QNLI.tsv"] == "0\tnot_entailment"
    assert {first[name] for name in ("MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv")} == {"0\tentailment"}
    assert {name: len(lines) - 1 for name, lines in files.items()} == {
        name: count for wanted in LEADERBOARD.values() for name, _, count in wanted
    }
    assert "seed_2, step 30" in done.stderr


def test_scores_of_sts_b_beyond_its_scale_are_clipped_in_the_zip(tmp_path):
    folder = make_run(tmp_path / "en_glue/ernie_base/STS-B/seed_1", {"corr": 0.5})
    (folder / "test_out.tsv.1.30").write_text("0\t5.31\t[5.31]\n1\t-0.42\t[-0.42]\n2\t5.0\t[5.0]\n3\t2.5\t[2.5]\n")
    (run,) = report.find_runs(tmp_path)[0]["en_glue/ernie_base/STS-B"]
    found = report.predictions("STS-B", run, "test_out.tsv")
    assert found == [(0, "5.000"), (1, "0.000"), (2, "5.000"), (3, "2.500")]


def test_the_median_seed_and_what_is_missing(tmp_path, capsys):
    make_glue(tmp_path, "ernie_large")
    runs, _ = report.find_runs(tmp_path)
    with pytest.raises(UserError, match=r"CoLA.tsv: 20 rows from \S+seed_3, the leaderboard wants 0 to 1062"):
        report.leaderboard_files(runs, "ernie_large", "median", partial=False)
    files = report.leaderboard_files(runs, "ernie_large", "median", partial=True)
    assert files["STS-B.tsv"].splitlines()[1] == "0\t3.250"
    assert "incomplete: CoLA.tsv" in capsys.readouterr().err
    with pytest.raises(UserError, match="CoLA has no finished run of ernie_base"):
        report.leaderboard_files(runs, "ernie_base", "best", partial=False)


def test_predictions_without_an_index_are_counted_and_bad_lines_named(tmp_path):
    folder = make_run(tmp_path / "en_glue/ernie_base/RTE/seed_1", {"acc": 0.5})
    (folder / "test_out.tsv.1.30").write_text(f"1.0\t{PROBS}\n0.0\t{PROBS}\n")
    (run,) = report.find_runs(tmp_path)[0]["en_glue/ernie_base/RTE"]
    assert report.predictions("RTE", run, "test_out.tsv") == [(0, "entailment"), (1, "not_entailment")]
    (folder / "test_out.tsv.1.30").write_text("7.0\t[0.1]\n")
    with pytest.raises(UserError, match=r"test_out.tsv.1.30, line 1: not a line"):
        report.predictions("RTE", run, "test_out.tsv")
    (folder / "test_out.tsv.1.30").unlink()
    with pytest.raises(UserError, match="0 files test_out.tsv"):
        report.predictions("RTE", run, "test_out.tsv")


def test_a_recipe_and_its_report_from_beginning_to_end(model, tmp_path):
    """MNLI: two dev sets, two test sets and the diagnostics, as cvt.sh makes them; then the zip."""
    data = tmp_path / "data" / "MNLI"
    pairs = [(i, first, second) for i, ((_, first), (_, second)) in enumerate(zip(sentences(9, 1), sentences(9, 2)))]
    labelled = [(first, second, i % 3) for i, first, second in pairs]
    for folder in (data, data / "m", data / "mm"):
        folder.mkdir(parents=True)
    write_tsv(data / "train.tsv", labelled, ("text_a", "text_b", "label"))
    for folder in (data / "m", data / "mm"):
        write_tsv(folder / "dev.tsv", labelled, ("text_a", "text_b", "label"))
        write_tsv(folder / "test.tsv", pairs[:6], ("qid", "text_a", "text_b"))
    write_tsv(data / "diagnostic.tsv", pairs[:4], ("qid", "text_a", "text_b"))
    settings = {"MODEL_PATH": model, "TASK_DATA_PATH": tmp_path / "data", "OUTPUT": tmp_path / "out", "SEEDS": "1 2"}
    done = shell(
        ["sh", str(SCRIPT / "en_glue/ernie_base/MNLI/task.sh"), "--max_seq_len", "32", "--epoch", "1"],
        env=clean_environment(**settings, PYTHON=sys.executable, DEVICES="cpu", KEEP_BATCH=0),
    )
    assert done.returncode == 0, done.stderr
    runs, _ = report.find_runs(tmp_path / "out")
    (seeds,) = runs.values()
    assert len(seeds) == 2
    rows = rows_of(report.table(runs))
    assert [row[1] for row in rows if row[2] == "acc"][:2] == ["m/dev.tsv", "mm/dev.tsv"]
    files = report.leaderboard_files(runs, "ernie_base", "best", partial=True)
    assert {name: text.count("\n") - 1 for name, text in files.items()} == {
        "MNLI-m.tsv": 6,
        "MNLI-mm.tsv": 6,
        "AX.tsv": 4,
    }
    assert re.fullmatch(r"index\tprediction\n(\d\t(contradiction|neutral|entailment)\n){4}", files["AX.tsv"])


SEED = SHARED / "seed" / "ERNIE_README.md"


@pytest.mark.beside("seed/ERNIE_README.md")
def test_the_published_figures_are_those_of_the_2019_readme():
    text = SEED.read_text(encoding="utf-8")
    published = report.published_results()

    def values(recipe, kinds, key="ernie_2.0"):
        return [entry[key] for place, entry in published[recipe].items() if place[0] in kinds]

    def cells(line):
        return [cell.split("<br/>")[0].strip() for cell in line.strip("|").split("|")]

    lines = [line for line in text.splitlines() if line.startswith("| **ERNIE 2.0")]
    dev, tests = cells(lines[0])[1:], {line.split("**")[1].split()[-1].lower(): cells(line)[2:] for line in lines[1:]}
    tasks = list(LEADERBOARD)
    assert [values(f"en_glue/ernie_large/{task}", ["dev"])[0] for task in tasks if task != "WNLI"] == list(
        map(float, dev)
    )
    for size, row in tests.items():
        ours = [values(f"en_glue/ernie_{size}/{task}", ["test"]) for task in tasks]
        wanted = [[float(value) for value in cell.split("/")] for cell in row[:-1]]
        mnli = tasks.index("MNLI")
        wanted[mnli : mnli + 2] = [wanted[mnli] + wanted[mnli + 1]]
        assert ours == wanted
        assert values(f"en_glue/ernie_{size}/MNLI", ["diagnostic"]) == [float(row[-1])]

    def chinese(name):
        """Every figure of the rows of that name, table after table."""
        found = []
        for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL):
            entries = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
            if entries and re.sub(r"<[^>]*>|\s+", " ", entries[0]).split() == name.split():
                found.append([float(entry.split("<")[0]) for entry in entries[1:]])
        return [value for row in found for value in row]

    order = ["xnli", "dureader", "cmrc2018", "drcd", "msra_ner", "ChnSentiCorp", "dbqa", "lcqmc", "bq"]
    for name, size, key in (
        ("ERNIE 1.0 Base", "base", "ernie_1.0"),
        ("ERNIE 2.0 Base", "base", "ernie_2.0"),
        ("ERNIE 2.0 Large", "large", "ernie_2.0"),
    ):
        ours = [value for task in order for value in values(f"zh_task/ernie_{size}/{task}", ["dev", "test"], key)]
        assert ours == chinese(name)
