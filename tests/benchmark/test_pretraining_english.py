"""English for the benchmark of continual pre-training: texts of the package, and tasks of GLUE's download."""

import gzip
import io
import tarfile

import pytest

from benchmark.parts.pretraining_cells import TASKS, Cells, chosen, dev_texts, fine_tune, parser
from benchmark.parts.pretraining_cells import Start as Weights
from benchmark.parts.pretraining_corpus import CHINESE, SEGMENTERS
from benchmark.parts.pretraining_english import ENGLISH, ENGLISH_TASKS, PLACES
from propeller.errors import UserError
from script.demo import pretrain_corpus_en

SENTENCES, SCORES, PAIRS = ENGLISH_TASKS
LINES = {
    "news": "1_1\t0.4\tOne day.\n1_2\t0.1\tAnother  day.\n2_1\t0.1\tAlone.\n",
    "reviews": "1_1\t-0.9\tno picture.\n1_2\t-0.1\trepost.\n",
    "films": "1\t2.2\tThe Rock is good.\n2\t0.1\t\n3\t-0.6\tTepid.\n",
}


def write_table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows))


def test_texts_are_documents_of_sentences(tmp_path, monkeypatch):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        for name, place in PLACES.items():
            info = tarfile.TarInfo(place)
            info.size = len(LINES[name])
            archive.addfile(info, io.BytesIO(LINES[name].encode()))
    monkeypatch.setattr(pretrain_corpus_en, "fetch", lambda package, cache: cache)
    monkeypatch.setattr(pretrain_corpus_en, "members", lambda path, names: [inner.getvalue()])
    found = {name: (documents, text_of) for name, documents, text_of in ENGLISH.read(tmp_path)}
    assert {name: documents for name, (documents, _) in found.items()} == {
        "news": [["One day.", "Another day."]],
        "reviews": [["no picture.", "repost."]],
        "films": [["The Rock is good."], ["Tepid."]],
    }
    assert found["news"][1](["One day.", "Another day."]) == "One day. Another day."
    inner.seek(0)
    monkeypatch.setattr(pretrain_corpus_en, "members", lambda path, names: [gzip.compress(b"no tar")])
    with pytest.raises(UserError):
        ENGLISH.read(tmp_path)


def test_a_text_teaches_what_it_can():
    assert all(CHINESE.teaches(text, "sentence_reordering") for text in SEGMENTERS)
    taught = {text for text in ENGLISH.segmenters if ENGLISH.teaches(text, "capitalization")}
    assert taught == {"news", "films"}
    assert not ENGLISH.teaches("films", "token_document_relation")
    assert all(ENGLISH.teaches(text, "knowledge_masking") for text in ENGLISH.segmenters)


def test_rows_of_glue_get_the_columns_of_the_readers(tmp_path):
    write_table(tmp_path / "glue/SST-2/dev.tsv", ["sentence", "label"], ["good", "1"])
    write_table(
        tmp_path / "glue/STS-B/dev.tsv", ["index", "sentence1", "sentence2", "score"], ["0", "a", "b", "5.0"], ["cut"]
    )
    write_table(
        tmp_path / "glue/MRPC/dev.tsv",
        ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
        ["1", "7", "8", "c", "d"],
    )
    assert SENTENCES.read(tmp_path, "dev") == [["text_a", "label"], ["good", "1"]]
    assert SCORES.read(tmp_path, "dev") == [["text_a", "text_b", "label"], ["a", "b", "5.0"]]
    assert PAIRS.read(tmp_path, "dev") == [["text_a", "text_b", "label"], ["c", "d", "1"]]
    assert dev_texts(tmp_path, ENGLISH_TASKS).keys == ["a", "b", "c", "d", "good"]
    write_table(tmp_path / "glue/SST-2/dev.tsv", ["text", "label"], ["good", "1"])
    with pytest.raises(UserError, match="line 1: no column sentence"):
        SENTENCES.read(tmp_path, "dev")
    with pytest.raises(UserError, match="the folder that holds glue/"):
        SENTENCES.read(tmp_path, "train")


def test_numbers_are_fine_tuned_as_numbers(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "benchmark.parts.pretraining_cells.run_script", lambda script, flags, *_: given.update(flags, script=script)
    )
    records = [{"event": "dev", "pearson": 0.25, "acc": 0.5, "data_num": 3}]
    monkeypatch.setattr("benchmark.parts.pretraining_cells.records", lambda folder: records)
    found = fine_tune(SCORES, tmp_path, Weights("random"), tmp_path, 1, 1)
    assert found == {"pearson": 0.25, "rows": 3}
    assert (given["script"], given["is_regression"], given["num_labels"]) == ("run_classifier.py", "true", 1)
    assert given["for_cn"] == "false", "the blanks of English text are kept"
    given.clear()
    assert fine_tune(PAIRS, tmp_path, Weights("random"), tmp_path, 1, 1) == {"acc": 0.5, "rows": 3}
    assert "is_regression" not in given
    assert given["for_cn"] == "false"


def test_tasks_of_another_language_are_refused():
    args = parser("a benchmark", [1], [*TASKS, *ENGLISH_TASKS]).parse_args(["--tasks", "SST-2", "MRPC"])
    assert chosen(args, ENGLISH_TASKS) == [SENTENCES, PAIRS]
    with pytest.raises(UserError, match="--tasks SST-2 MRPC: give some of ChnSentiCorp"):
        chosen(args)


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_cells_take_as_many_runs_at_a_time_as_is_said(tmp_path, monkeypatch, side_by_side):
    import threading

    monkeypatch.setattr("benchmark.parts.pretraining_cells.cores", lambda: 8)
    lock, running, most = threading.Lock(), [], []
    together = threading.Barrier(side_by_side)

    def measure():
        with lock:
            running.append(1)
            most.append(len(running))
        together.wait(10)  # as many run as there are places
        with lock:
            running.pop()
        return {"acc": 1}

    args = parser("a benchmark", [1]).parse_args(["--minutes", "1"])
    cells = Cells("many", args, {}, tmp_path, side_by_side)
    assert len(cells.together({str(number): measure for number in range(2 * side_by_side)})) == 2 * side_by_side
    assert max(most) == side_by_side
    assert cells.cores == min(8, side_by_side * Cells.threads)
