"""Handlers: what text and outputs become. Against batch prediction of the same texts.

pytest -q -x tests/finetune/test_serving.py
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune import TASKS, task_class
from finetune.mrc import answers as mrc_answers
from finetune.mrc.task import WindowLogits
from finetune.serving.handler import Handler, handler_class
from finetune.tagging.sentences import find_entities, token_tags, whole_sentences
from propeller.errors import UserError
from propeller.service.errors import BadRequest
from tests.helpers.served import LABELS, LIMITS, LONG, made_up, opener, respond
from tests.helpers.tiny import write_tsv

TEXTS = ["a very good film", "dull", "the story was grim and the cast was awful , very awful", "Lovely!"]
PAIRS = [["a very good film", "the story was bright"], ["dull", "fine"], ["good " * 30, "bad " * 30]]

# Letters, marks, blanks, CJK, characters beyond U+FFFF and those that the tokenizer drops.
CHARACTERS = st.one_of(
    st.sampled_from(
        list("aeG .,!\t\n") + ["é", "e\u0301", "中", "国", "𠮷", "😀", "\u200b", "\x00", "\u3000", "İ", "ß"]
    ),
    st.characters(exclude_categories=["Cs"]),
)
UNICODE = st.one_of(
    st.lists(CHARACTERS, min_size=1, max_size=60).map("".join),
    st.lists(st.sampled_from(["good", "films", "the", "casts", "中", "😀", "."]), min_size=1, max_size=40).map(
        " ".join
    ),
).filter(lambda text: text.strip() and len(text) <= LIMITS.max_chars)


@pytest.fixture(scope="module")
def opened(model, tmp_path_factory):
    return opener(model, tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def ask(opened):
    """The answer of a task to a payload, computed by its model."""

    def get(task, payload):
        handler, model = opened(task)
        answer = respond(handler, model.predictor, payload, LIMITS)
        return json.loads(json.dumps(answer, allow_nan=False))

    return get


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_handler(task, opened):
    """A task in TASKS names a Handler, which says what it serves in JSON and takes the inputs that the model takes."""
    assert issubclass(handler_class(task_class(task)), Handler)
    handler, model = opened(task)
    told = json.loads(json.dumps(handler.describe()))
    assert told["task"] == task
    assert (handler.page / "index.html").is_file()
    assert set(handler.outputs) <= set(model.predictor.output_names)
    assert handler.max_length >= model.max_seq_len
    others = {"mrc": {"question": "good ?", "context": "fine"},
              "multiple_choice": {"text_a": "good", "choices": ["fine", "bad"]}}  # fmt: skip
    instance, *_ = handler.parse(others.get(task, {"texts": ["good"]}), LIMITS).instances
    assert set(instance) == set(model.predictor.input_names)
    assert {(array.ndim, len(array)) for array in instance.values()} == {(1, len(instance["src_ids"]))}
    for name, (least, greatest) in handler.bounds.items():
        assert ((instance[name] >= least) & (instance[name] <= greatest)).all()


def test_a_task_without_a_handler_says_so():
    class Mute(task_class("classify")):
        handler = None

    with pytest.raises(UserError, match="names? one|no handler"):
        handler_class(Mute)


def from_file(model, path):
    """(outputs, batch) of a file's batches, read and computed as in batch prediction."""
    return [(model.run(batch), batch) for batch, _ in model.reader(path, batch_size=2).batches(None)]


@pytest.mark.parametrize("task", ["classify", "regression"])
@pytest.mark.parametrize("pairs", [False, True])
def test_answers_equal_batch_prediction(task, pairs, opened, ask, tmp_path):
    """Probabilities and scores are those of the same rows in a file, which come in other batches."""
    rows = PAIRS if pairs else [[text] for text in TEXTS]
    path = write_tsv(tmp_path / "rows.tsv", rows, ("text_a", "text_b")[: len(rows[0])])
    name = {"classify": "probs", "regression": "logits"}[task]
    wanted = np.concatenate([outputs[name] for outputs, _ in from_file(opened(task)[1], path)])
    columns = dict(zip(("text_a", "text_b"), map(list, zip(*rows))))
    for payload in ({"texts": rows if pairs else TEXTS}, columns):
        found = ask(task, payload)["predictions"]
        if task == "classify":
            assert [list(each["probabilities"]) for each in found] == [list(LABELS)] * len(rows)
            assert [LABELS[each["label"]] for each in found] == wanted.argmax(axis=1).tolist()
            assert [each["label_id"] for each in found] == wanted.argmax(axis=1).tolist()
            numbers = [list(each["probabilities"].values()) for each in found]
        else:
            numbers = [[each["score"]] for each in found]
        np.testing.assert_allclose(numbers, wanted, atol=2e-5)
        assert [each["truncated"] for each in found] == ([False, False, True] if pairs else [False] * 4)


def test_one_text_may_be_given_alone(ask):
    """text_a as a text is a list of one; an empty second text is none."""
    (alone,) = ask("classify", {"text_a": TEXTS[0]})["predictions"]
    for payload in ({"texts": [TEXTS[0]]}, {"text_a": [TEXTS[0]]}, {"text_a": TEXTS[0], "text_b": ""},
                    {"texts": [[TEXTS[0], ""]]}):  # fmt: skip
        assert ask("classify", payload)["predictions"] == [alone]


def test_tags_equal_batch_prediction(opened, ask, tmp_path):
    """Tags, probabilities and entities are those of the same rows in a file; long texts are read in windows."""
    rows = [TEXTS[0].split(), LONG.split(), ["good", "films", "grim", "casts"]]
    path = write_tsv(tmp_path / "rows.tsv", [["\x02".join(tokens)] for tokens in rows], ("text_a",))
    handler, model = opened("sequence_label")
    reader = model.reader(path, batch_size=2)
    wanted = list(zip(reader.sentences(), whole_sentences((model.run(batch), batch) for batch, _ in reader.batches())))
    assert len(handler.parse({"tokens": rows}, LIMITS).instances) > len(rows)
    found = ask("sequence_label", {"tokens": rows})["predictions"]
    assert len(found) == len(rows)
    for (sentence, probs), answer in zip(wanted, found):
        classes, chances = token_tags(handler.tags, sentence.pieces, probs)
        assert [token["tag"] for token in answer["tokens"]] == [handler.tags.names[number] for number in classes]
        np.testing.assert_allclose([token["probability"] for token in answer["tokens"]], chances, atol=2e-5)
        assert answer["entities"] == find_entities(handler.tags, sentence, classes)
        for entry in (*answer["tokens"], *answer["entities"]):
            assert " ".join(sentence.tokens)[entry["start"] : entry["end"]] == entry["text"]
    running = ask("sequence_label", {"texts": [" ".join(tokens) for tokens in rows]})["predictions"]
    for one, other in zip(running, found):
        assert [token["tag"] for token in one["tokens"]] == [token["tag"] for token in other["tokens"]]


def test_answers_to_questions_equal_batch_prediction(opened, ask, tmp_path):
    """The n best answers are those of the same questions in a SQuAD file, windows over the context included."""
    asked = [
        {"question": "the film ?", "context": LONG},
        {"question": "who was good ?", "context": "the cast was good"},
    ]
    paragraphs = [
        {"context": each["context"], "qas": [{"id": str(number), "question": each["question"]}]}
        for number, each in enumerate(asked)
    ]
    path = tmp_path / "asked.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    handler, model = opened("mrc")
    reader, logits = model.reader(str(path), batch_size=3), WindowLogits([])
    for batch, _ in reader.batches(None):
        outputs = model.run(batch)
        logits.update([outputs["start_logits"], outputs["end_logits"], batch["unique_ids"]])
    _, wanted = mrc_answers.predict(reader, logits.eval()["logits"], 20, 10)
    found = ask("mrc", {"questions": asked})["predictions"]
    assert len(handler.parse({"questions": asked}, LIMITS).instances) == reader.num_examples > len(asked)
    for number, (question, answer) in enumerate(zip(asked, found)):
        best = wanted[str(number)]
        assert [each["text"] for each in answer["nbest"]] == [each["text"] for each in best]
        np.testing.assert_allclose(
            [each["probability"] for each in answer["nbest"]], [each["probability"] for each in best], atol=2e-5
        )
        assert answer["answer"] == question["context"][answer["start"] : answer["end"]] == best[0]["text"]
    assert ask("mrc", asked[1])["predictions"][0]["answer"] == found[1]["answer"]


def test_no_answer_is_null(opened, monkeypatch):
    """Where every candidate ends before it begins there is no answer, and no place of one."""
    handler, _ = opened("mrc")
    spec = handler.model.spec
    spec = spec.replace(settings=replace(spec.settings, n_best_size=4))
    monkeypatch.setattr(handler, "model", replace(handler.model, spec=spec))
    job = handler.parse({"question": "film ?", "context": "the cast was good"}, LIMITS)
    start, end = np.zeros((2, len(job.instances[0]["src_ids"])), "float32")
    end[:4] = np.arange(9, 5, -1)  # the best ends all lie before the context
    (answer,) = handler.answer(job, [{"start_logits": start, "end_logits": end}])["predictions"]
    assert (answer["answer"], answer["start"], answer["end"], answer["nbest"]) == (None, None, None, [])


def test_embeddings_and_similarity(opened, ask):
    """Vectors by the pooling asked, at length 1 on request; similarity is the cosine of those of the two texts."""
    handler, _ = opened("embed")
    assert handler.describe()["poolings"] == ["cls", "mean", "max", "first"]
    for pooling in handler.poolings:
        plain = np.array(ask("embed", {"texts": TEXTS[:2], "pooling": pooling})["embeddings"])
        assert plain.shape == (2, 32)
        unit = np.array(ask("embed", {"texts": TEXTS[:2], "pooling": pooling, "normalize": True})["embeddings"])
        np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
        pairs = [TEXTS[:2], [TEXTS[0], TEXTS[0]]]
        found = ask("embed", {"pairs": pairs, "pooling": pooling})
        np.testing.assert_allclose(found["similarity"], [unit[0] @ unit[1], 1.0], atol=1e-5)
        assert found["truncated"] == [False, False]
    default = ask("embed", {"texts": [TEXTS[0]]})["embeddings"]
    assert default == ask("embed", {"texts": [TEXTS[0]], "pooling": "mean"})["embeddings"]


def test_places_index_the_text_that_was_sent(opened):
    """Blanks, accents and characters beyond U+FFFF move nothing: the places count code points."""
    handler, _ = opened("sequence_label")
    text = "😀 The  good films\n中国 GRIM"
    job = handler.parse({"texts": [text]}, LIMITS)
    (answer,) = handler.answer(job, made_up(job, ["probs"], 5))["predictions"]
    assert [token["text"] for token in answer["tokens"]] == ["😀", "The", "good", "films", "中", "国", "GRIM"]
    assert [token["start"] for token in answer["tokens"]] == [0, 2, 7, 12, 18, 19, 21]


@settings(deadline=None, max_examples=150)
@given(text=UNICODE, seed=st.integers(0, 99))
def test_entities_and_tokens_are_cut_from_the_text(opened, text, seed):
    """Whatever the text and the tags: text[start:end] is the token or entity, tokens miss nothing but white space."""
    handler, _ = opened("sequence_label")
    job = handler.parse({"texts": [text, text]}, LIMITS)
    answers = handler.answer(job, made_up(job, ["probs"], 5, seed))["predictions"]
    assert len(answers) == 2
    for answer in answers:
        for found in (*answer["tokens"], *answer["entities"]):
            assert text[found["start"] : found["end"]] == found["text"] != ""
        covered = {at for token in answer["tokens"] for at in range(token["start"], token["end"])}
        assert not "".join(char for at, char in enumerate(text) if at not in covered).strip()
        ends = [(found["start"], found["end"]) for found in answer["entities"]]
        assert all(one[1] <= other[0] for one, other in zip(ends, ends[1:]))
    json.dumps(answers, ensure_ascii=False).encode()


@settings(deadline=None, max_examples=150)
@given(context=UNICODE, seed=st.integers(0, 99))
def test_answers_are_cut_from_the_context(opened, context, seed):
    """Whatever the context and the logits: context[start:end] is the answer, and so for every one of the n best."""
    handler, _ = opened("mrc")
    try:
        job = handler.parse({"question": "the film ?", "context": context}, LIMITS)
    except BadRequest as error:
        assert "characters that the model does not see" in error.message  # noqa: PT017
        return
    (answer,) = handler.answer(job, made_up(job, ["start_logits", "end_logits"], seed=seed))["predictions"]
    for found in answer["nbest"]:
        assert context[found["start"] : found["end"]] == found["text"]
    if answer["nbest"]:
        assert context[answer["start"] : answer["end"]] == answer["answer"]
        assert sum(found["probability"] for found in answer["nbest"]) == pytest.approx(1)


def test_a_handler_serves_several_threads(opened):
    """Parsed at once from eight threads, each gets its own rows."""
    handler, _ = opened("classify")
    texts = [f"{'good ' * (number % 9 + 1)}film" for number in range(64)]
    wanted = [handler.parse({"texts": [text]}, LIMITS).instances[0]["src_ids"].tolist() for text in texts]
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda text: handler.parse({"texts": [text]}, LIMITS), texts * 3))
    assert [job.instances[0]["src_ids"].tolist() for job in jobs] == wanted * 3
