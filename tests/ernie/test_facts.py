"""ernie.facts: what belongs to a model is converted with it, both ways, and read from beside its weights."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie.checkpoint import read_params, write_params
from ernie.convert import main, to_hf, to_params
from ernie.facts import FACTS, read_facts, write_facts
from finetune.prediction.main import main as predict
from propeller.errors import UserError
from tests.helpers.common import FIXTURES
from tests.helpers.predicting import words as command_line
from tests.helpers.tiny import write_tsv
from tokenization import build_tokenizer

BERT = FIXTURES / "peers" / "bert"
HEADS = {
    "BertForSequenceClassification": ("classifier", "_cls_out"),
    "BertForTokenClassification": ("classifier", "cls_seq_label_out"),
    "BertForQuestionAnswering": ("qa_outputs", "cls_mrc_out"),
}


@pytest.fixture
def tuned(tmp_path):
    """Make a fine-tuned BERT directory: ``tuned("BertForSequenceClassification", 3, problem_type=…)``."""
    count = 0

    def make(architecture, outputs, **values):
        nonlocal count
        count += 1
        folder = shutil.copytree(BERT, tmp_path / f"hf{count}")
        tensors = load_file(folder / "model.safetensors")
        tensors = {name: array for name, array in tensors.items() if not name.startswith("cls.")}
        if outputs:
            head = HEADS.get(architecture, ("classifier",))[0]
            tensors[f"{head}.weight"] = np.arange(32 * outputs, dtype=np.float32).reshape(outputs, 32)
            tensors[f"{head}.bias"] = np.arange(outputs, dtype=np.float32)
        (folder / "model.safetensors").unlink()
        save_file(tensors, folder / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "architectures": [architecture], **values}))
        return folder

    return make


def converted(folder):
    """The facts of a converted directory, and where it is."""
    out = folder.with_name(folder.name + "_params")
    shutil.rmtree(out, ignore_errors=True)
    to_params("hf", folder, out)
    return read_facts(out), out


def words(*names):
    return {"id2label": {str(number): name for number, name in enumerate(names)}}


# ---------------------------------------------------------------- from Hugging Face


@pytest.mark.parametrize(
    ("architecture", "outputs", "values", "wanted"),
    [
        ("BertForSequenceClassification", 3, words("negative", "neutral", "positive"),
         {"task": "classify", "num_labels": 3, "label_map": {"negative": 0, "neutral": 1, "positive": 2}}),
        ("BertForSequenceClassification", 2, words("LABEL_0", "LABEL_1"), {"task": "classify", "num_labels": 2}),
        ("BertForSequenceClassification", 2, {}, {"task": "classify", "num_labels": 2}),
        ("BertForSequenceClassification", 2, {"label2id": {"no": 0, "yes": 1}},
         {"task": "classify", "num_labels": 2, "label_map": {"no": 0, "yes": 1}}),
        ("BertForSequenceClassification", 3, {"id2label": ["a", "b", "c"]},
         {"task": "classify", "num_labels": 3, "label_map": {"a": 0, "b": 1, "c": 2}}),
        ("BertForSequenceClassification", 2, {"problem_type": "single_label_classification", **words("a", "b")},
         {"task": "classify", "num_labels": 2, "label_map": {"a": 0, "b": 1}}),
        ("BertForSequenceClassification", 1, words("LABEL_0"), {"task": "regression", "num_labels": 1}),
        ("BertForSequenceClassification", 1, {"problem_type": "regression"}, {"task": "regression", "num_labels": 1}),
        ("BertForSequenceClassification", 2, {"problem_type": "regression"}, {"num_labels": 2}),
        ("BertForSequenceClassification", 2, {"problem_type": "multi_label_classification", **words("art", "sport")},
         {"task": "multi_label_classification", "num_labels": 2, "label_map": {"art": 0, "sport": 1}}),
        ("BertForTokenClassification", 3, words("B-PER", "I-PER", "O"),
         {"task": "sequence_label", "num_labels": 3, "label_map": {"B-PER": 0, "I-PER": 1, "O": 2}}),
        ("BertForQuestionAnswering", 2, words("LABEL_0", "LABEL_1"), {"task": "mrc", "num_labels": 2}),
        ("BertForMultipleChoice", 1, {}, {}),  # one output, but no regression
        ("BertModel", 0, {}, {}),
    ],
)  # fmt: skip
def test_labels_and_kind_of_head(tuned, architecture, outputs, values, wanted):
    folder = tuned(architecture, outputs, **values)
    facts, out = converted(folder)
    assert {key: facts[key] for key in ("task", "num_labels", "label_map") if key in facts} == wanted
    if architecture in HEADS:
        theirs, ours = HEADS[architecture]
        arrays, tensors = read_params(out / "params"), load_file(folder / "model.safetensors")
        np.testing.assert_array_equal(arrays[ours + "_w"], tensors[theirs + ".weight"].T)
        np.testing.assert_array_equal(arrays[ours + "_b"], tensors[theirs + ".bias"])


@pytest.mark.parametrize("values", [words("a", "b"), words("a", "b", "a"), {"id2label": "a b c"}])
def test_labels_that_do_not_fit_the_head_are_left_out(tuned, values, caplog):
    facts, _ = converted(tuned("BertForSequenceClassification", 3, **values))
    assert (facts["task"], facts["num_labels"]) == ("classify", 3)
    assert "label_map" not in facts
    readable = isinstance(values["id2label"], dict)
    told = "does not name the head's 3 classes once each" if readable else "is no object and no list of words"
    assert f"'id2label' {told}: labels left out" in caplog.text


BERT_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}


@pytest.mark.parametrize(
    ("config", "normalizer", "wanted"),
    [
        ({"do_lower_case": False, "tokenizer_class": "BertTokenizer"}, None, False),
        ({"do_lower_case": True}, None, True),
        (None, {**BERT_NORMALIZER, "lowercase": False}, False),
        ({"model_max_length": 512}, {**BERT_NORMALIZER, "lowercase": True}, True),
        (None, {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}, True),
        (None, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}, False),
        ({"do_lower_case": True}, {**BERT_NORMALIZER, "lowercase": False}, True),
        (None, None, None),
    ],
)
def test_case(tuned, config, normalizer, wanted):
    folder = tuned("BertModel", 0)
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if normalizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps({"normalizer": normalizer}))
    facts, _ = converted(folder)
    assert facts.get("do_lower_case") is wanted


def test_a_cased_model_reads_its_words(tuned):
    """Lower-cased, the cased vocabulary gives [UNK] for names; with what the conversion wrote, the words."""
    folder = tuned("BertModel", 0)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Anna", "was", "born", "in", "Paris", "."]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    facts, out = converted(folder)
    flags = {key: facts[key] for key in ("do_lower_case", "for_cn")}
    tokenizer = build_tokenizer(facts["tokenizer"], out / "vocab.txt", **flags)
    assert tokenizer.tokenize("Anna was born in Paris .") == ["Anna", "was", "born", "in", "Paris", "."]


def test_blanks(tuned):
    """Certain for a vocabulary with few CJK pieces, as English and multilingual ones; open for a Chinese one."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    chinese = [chr(0x4E00 + number) for number in range(90)]
    for tokens, wanted in (
        ([*special, *(f"word{number}" for number in range(90))], False),
        ([*special, *(f"word{number}" for number in range(82)), *chinese[:8]], False),
        ([*special, *chinese], None),
    ):
        folder = tuned("BertModel", 0)
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf8")
        assert converted(folder)[0].get("for_cn") is wanted


@pytest.mark.parametrize(
    ("length", "wanted"),
    [(32, 32), (40, 40), (512, None), (1000000000000000019884624838656, None), (1e30, None), (None, None)],
)
def test_longest_text(tuned, length, wanted):
    """40 positions: a longer limit, and transformers' number for "not known", are no fact."""
    folder = tuned("BertModel", 0)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}))
    assert converted(folder)[0].get("max_seq_len") == wanted


def test_a_tokenizer_that_cuts_otherwise_is_told(tuned, caplog):
    folder = tuned("BertModel", 0)
    told = {"tokenizer_class": "BertJapaneseTokenizer", "strip_accents": False, "tokenize_chinese_chars": False}
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, **told}))
    facts, _ = converted(folder)
    assert "tokenizer" not in facts
    assert "BertJapaneseTokenizer may cut text otherwise than FullTokenizer does" in caplog.text
    assert "strip_accents is false, which FullTokenizer cannot be told" in caplog.text
    assert "tokenize_chinese_chars is false, which FullTokenizer cannot be told" in caplog.text
    (folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(UserError, match="tokenizer_config.json: holds no JSON object"):
        converted(folder)


# ---------------------------------------------------------------- read and written


def test_the_record_nearest_to_the_weights_wins(tmp_path):
    model = tmp_path / "model"
    (model / "params").mkdir(parents=True)
    assert read_facts(model) == {}
    assert read_facts(model / "params") == {}
    write_facts(model, {"do_lower_case": False, "num_labels": 3})
    for folder in (model, model / "params", f"{model}/params/"):
        assert read_facts(folder) == {"do_lower_case": False, "num_labels": 3}
    described = {"do_lower_case": True, "label_map": None, "flags": {"o_label": "O"}}
    (model / "params" / "checkpoint.json").write_text(json.dumps(described))
    for folder in (model, model / "params"):
        assert read_facts(folder) == described


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"do_lowercase": true}', "unknown key 'do_lowercase': remove it; the known keys are do_lower_case"),
        ('{"do_lower_case": "false"}', "'do_lower_case' is 'false': make it true or false, or remove the key"),
        ('{"num_labels": 0}', "'num_labels' is 0: make it a whole number of at least 1"),
        ('{"label_map": {"a": "0"}}', "'label_map' is {'a': '0'}: make it an object of label words"),
        ('{"label_map": ["a"]}', "'label_map' is"),
        ('{"num_labels": 2, "label_map": {"a": 0, "b": 2}}', "'label_map' has class 2 ('b'), 'num_labels' is 2"),
        ("{", "line 1: not JSON"),
        ("[]", "holds no JSON object"),
    ],
)
def test_a_damaged_record(tmp_path, content, message):
    (tmp_path / FACTS).write_text(content)
    with pytest.raises(UserError) as error:
        read_facts(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / FACTS}: {message}")
    assert "\n" not in str(error.value)


def test_only_facts_are_written(tmp_path):
    with pytest.raises(UserError, match="unknown key 'metric'"):
        write_facts(tmp_path, {"metric": "acc"})
    assert not (tmp_path / FACTS).exists()


# ---------------------------------------------------------------- to Hugging Face


@pytest.mark.parametrize(
    ("architecture", "outputs", "values", "problem"),
    [
        ("BertForSequenceClassification", 3, words("no", "maybe", "yes"), "single_label_classification"),
        ("BertForSequenceClassification", 1, words("LABEL_0"), "regression"),
        ("BertForSequenceClassification", 2, {"problem_type": "multi_label_classification", **words("art", "sport")},
         "multi_label_classification"),
        ("BertForTokenClassification", 3, words("B-人", "I-人", "O"), None),
        ("BertForQuestionAnswering", 2, {}, None),
    ],
)  # fmt: skip
def test_there_and_back(tuned, tmp_path, architecture, outputs, values, problem):
    folder = tuned(architecture, outputs, **values)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 32}')
    facts, out = converted(folder)
    to_hf(out, tmp_path / "back")
    config, tokenizer = (
        json.loads((tmp_path / "back" / name).read_text()) for name in ("config.json", "tokenizer_config.json")
    )
    assert config["architectures"] == [architecture]
    assert config.get("problem_type") == problem
    assert tokenizer == {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 32}
    if "id2label" in values:
        assert config["id2label"] == values["id2label"]
        assert config["label2id"] == {word: int(number) for number, word in values["id2label"].items()}
    first, second = load_file(folder / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert set(first) == set(second)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    to_params("hf", tmp_path / "back", tmp_path / "again")
    assert read_facts(tmp_path / "again") == facts


@pytest.fixture
def checkpoint(tuned, tmp_path):
    """A fine-tuned checkpoint's folder, as run_classifier.py leaves one: weights and checkpoint.json, no vocabulary."""
    _, out = converted(tuned("BertForSequenceClassification", 3))
    folder = tmp_path / "run" / "step_5"
    write_params(folder, read_params(out / "params"))
    tokenizer = build_tokenizer("FullTokenizer", out / "vocab.txt", False, False)
    described = {
        "task": "classify",
        "label_map": {"bad": 0, "neutral": 1, "good": 2},
        "num_labels": 3,
        "max_seq_len": 24,
        "tokenizer": "FullTokenizer",
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "do_lower_case": False,
        "for_cn": False,
        "task_id": 0,
        "metric": "simple_accuracy",
        "flags": {},
        "ernie_config": json.loads((out / "ernie_config.json").read_text()),
    }
    (folder / "checkpoint.json").write_text(json.dumps(described))
    return folder, out


def test_a_checkpoint_with_words_as_labels(checkpoint, tmp_path):
    folder, model = checkpoint
    command = ["--from", "params", "--to", "hf", str(folder), str(tmp_path / "hf")]
    with pytest.raises(
        UserError, match=r"step_5/vocab.txt: no such file: give the model's vocabulary with --vocab_path"
    ):
        main(command)
    assert main([*command, "--vocab_path", str(model / "vocab.txt")]) == 0
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "neutral", "2": "good"}
    assert config["label2id"] == {"bad": 0, "neutral": 1, "good": 2}
    assert config["problem_type"] == "single_label_classification"
    assert json.loads((tmp_path / "hf" / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": False,
        "model_max_length": 24,
    }
    joined = shutil.copytree(model, tmp_path / "joined")  # the checkpoint in a model's place, beside older facts
    shutil.rmtree(joined / "params")
    shutil.copytree(folder, joined / "params")
    to_hf(joined, tmp_path / "hf2")
    for name in ("config.json", "tokenizer_config.json", "model.safetensors", "vocab.txt"):
        assert (tmp_path / "hf2" / name).read_bytes() == (tmp_path / "hf" / name).read_bytes()


def test_a_checkpoint_with_another_vocabulary(checkpoint, tmp_path):
    folder, model = checkpoint
    other = tmp_path / "vocab.txt"
    lines = (model / "vocab.txt").read_text().splitlines()
    other.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")
    with pytest.raises(UserError, match="vocab.txt: not the vocabulary that .*step_5 was trained with"):
        to_hf(folder, tmp_path / "hf", vocab_path=other)
    assert not (tmp_path / "hf").exists()


def test_a_tokenizer_without_counterpart(checkpoint, tmp_path):
    folder, model = checkpoint
    path = folder / "checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer": "SentencepieceTokenizer"}))
    with pytest.raises(UserError, match="checkpoint.json: the model's tokenizer is SentencepieceTokenizer"):
        to_hf(folder, tmp_path / "hf", vocab_path=model / "vocab.txt")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("tasks", [("classify",), ()], ids=["its script", "its own task"])
@pytest.mark.parametrize("place", ["", "params"])
def test_a_converted_classifier_predicts_with_its_labels(tuned, tmp_path, place, tasks):
    _, out = converted(tuned("BertForSequenceClassification", 3, **words("bad", "neutral", "good")))
    rows, found = write_tsv(tmp_path / "new.tsv", [("word1 word2",)], ("text_a",)), tmp_path / "found.tsv"
    predict("infer_classifyer.py", tasks, command_line(
        init_checkpoint=out / place, predict_set=rows, output=found, max_seq_len=16))  # fmt: skip
    header, line = found.read_text().splitlines()
    assert header.split("\t")[2:] == ["prob_bad", "prob_neutral", "prob_good"]
    assert line.split("\t")[1] in ("bad", "neutral", "good")


def test_transformers_reads_case_and_labels(checkpoint, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder, model = checkpoint
    to_hf(folder, tmp_path / "hf", vocab_path=model / "vocab.txt")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "hf")
    assert (config.num_labels, config.id2label) == (3, {0: "bad", 1: "neutral", 2: "good"})
    assert config.problem_type == "single_label_classification"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer.model_max_length == 24
    ours = build_tokenizer("FullTokenizer", model / "vocab.txt", do_lower_case=False, for_cn=False)
    lowered = build_tokenizer("FullTokenizer", model / "vocab.txt", do_lower_case=True, for_cn=False)
    text = "word5 Word5"
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ours.encode(text) != lowered.encode(text)
