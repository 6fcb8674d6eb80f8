"""Command lines of 2019, those of its documentation and of its recipes, through the parsers; nothing is trained.

pytest -q -x tests/script/test_commands_2019.py
"""

import json
import subprocess
import sys

import pytest

from finetune import flags_of
from finetune.embedding import args as embed_args
from finetune.prediction import args as predict_args
from finetune.training import args as train_args
from pretrain.training import args as pretrain_args
from propeller.errors import UserError
from propeller.launch import build_parser, make_plan
from propeller.tools import start_server
from tests.helpers.common import FIXTURES, ROOT

RECORDED = json.loads((FIXTURES / "commands_2019.json").read_text(encoding="utf8"))
RECIPES = json.loads((FIXTURES / "recipes.json").read_text(encoding="utf8"))["rows"]
TASK_OF = {"run_classifier.py": "classify", "run_sequence_labeling.py": "sequence_label", "run_mrc.py": "mrc"}
INFERENCE = {
    "infer_classifyer.py": "classify",
    "infer_sequence_labeling.py": "sequence_label",
    "infer_mrc.py": "mrc",
}
SCRIPTS = [*TASK_OF, *INFERENCE, "ernie_encoder.py", "train.py", "propeller.tools.start_server"]


def words_of(flags):
    """A command line; names of one letter get one dash, a value of None leaves the flag bare."""
    named = ((f"--{name}" if len(name) > 1 else f"-{name}", value) for name, value in flags.items())
    return [word for name, value in named for word in ((name,) if value is None else (name, value))]


def values_of(program, words):
    """name -> value of a command line, as the program reads it."""
    if program == "train.py":
        return pretrain_args.parse(program, "", words).values()
    if program == "ernie_encoder.py":
        return embed_args.parse(program, "", words).values()
    if program == "propeller.tools.start_server":
        return vars(start_server.parse(words))
    if program in INFERENCE:
        flags = flags_of(INFERENCE[program])
        return predict_args.parse(program, "", words, flags.prediction, flags.task).values()
    args = train_args.parse(program, "", words, flags_of(TASK_OF[program]).task)
    return {name: value for group in args[:5] for name, value in vars(group).items()}


def least(program):
    """The flags that a program cannot do without."""
    model = {"ernie_config_path": "c.json", "vocab_path": "vocab.txt"}
    if program in TASK_OF:
        return {**model, "train_set": "t.tsv"}
    if program in INFERENCE:
        return {"inference_model": "saved", "predict_set": "t.tsv"}
    if program == "train.py":
        return {**model, "train_filelist": "list"}
    if program == "ernie_encoder.py":
        return {**model, "init_pretraining_params": "params", "data_set": "t.tsv"}
    return {"m": "saved"}


@pytest.mark.parametrize("command", RECORDED["commands"], ids=lambda command: command["from"])
def test_commands_of_the_documentation(command):
    assert (ROOT / command["program"]).is_file() or command["program"].startswith("propeller.")
    words = words_of(command["flags"])
    if "launcher" in command:
        line = [*words_of(command["launcher"]), command["program"], *words]
        plan = make_plan(build_parser("finetune_launch.py").parse_args(line), visible=8)
        assert plan.command == (command["program"], *words)
        assert str(plan.processes) == command["launcher"]["nproc_per_node"]
    found = values_of(command["program"], words)
    assert {name: found[name] for name in command["gives"]} == command["gives"]


@pytest.mark.parametrize("name", RECIPES)
def test_command_lines_of_the_recipes(name):
    row = RECIPES[name]
    kind = "en_glue" if name.startswith("en_glue") else f"zh_task {row['program']}"
    shape = RECORDED["recipe_shapes"][kind]
    assert shape["program"] == f"{row['program']}.py"
    own = {"batch_size": row["batch"], "epoch": row["epochs"], "learning_rate": row["lr"],
           "max_seq_len": row["max_seq_len"], "warmup_proportion": row["warmup"],
           "weight_decay": row["weight_decay"]}  # fmt: skip
    files = {f"{part}_set" if part != "diagnostic" else part: path for part, path in row["data"].items()}
    flags = {**shape["flags"], **{key: str(value) for key, value in own.items()}, **row["flags"], **files}
    if "," in files.get("test_set", ""):
        flags["test_save"] = "output/m.tsv,output/mm.tsv"
    if "test_set" not in files:
        flags["do_test"] = "false"
    found = values_of(shape["program"], words_of(flags))
    assert {key: found[key] for key in own} == own
    for key, value in row["flags"].items():
        ours = {"label_map": "label_map_config"}.get(key, key)
        assert str(found[ours]).lower() == value.lower()
    for key, value in files.items():
        assert found[key] == value


@pytest.mark.parametrize("program", SCRIPTS)
def test_use_cuda_is_taken_in_every_way_it_was_written(program):
    meant = {"true": "true", "True": "true", "1": "true", "t": "true", "false": "false", "False": "false", "0": "false",
             "yes": "true", "no": "false", "AUTO": "auto"}  # fmt: skip
    for written, value in meant.items():
        found = values_of(program, words_of({**least(program), "use_cuda": written}))
        assert found["use_cuda"] == value
    with pytest.raises(UserError, match="--use_cuda: 'gpu' is neither true, false nor auto"):
        values_of(program, words_of({**least(program), "use_cuda": "gpu"}))


def test_booleans():
    """What 2019 took for true is true; what it took for false without being so, is an error."""
    meant = {True: ("true", "True", "T", "1", "yes"), False: ("false", "False", "F", "0", "no")}
    for value, written in meant.items():
        for word in written:
            found = values_of("run_classifier.py", words_of({**least("run_classifier.py"), "shuffle": word}))
            assert found["shuffle"] is value
    with pytest.raises(UserError, match="--shuffle: 'on' is neither true nor false; see run_classifier.py --help"):
        values_of("run_classifier.py", words_of({**least("run_classifier.py"), "shuffle": "on"}))


@pytest.mark.parametrize("program", [*TASK_OF, "infer_classifyer.py"])
def test_label_map_is_label_map_config(program):
    found = values_of(program, words_of({**least(program), "label_map": "map.json"}))
    assert found["label_map_config"] == "map.json"


def test_flags_without_effect_may_stand_bare():
    flags = {**least("run_classifier.py"), "enable_ce": None, "shuffle": "false"}
    args = train_args.parse("run_classifier.py", "", words_of(flags), flags_of("classify").task)
    assert (args.ignored, args.data.shuffle) == (["enable_ce"], False)


@pytest.mark.parametrize("word", ["True", "1", "maybe"])
def test_a_keyword_is_read_as_the_flag(word):
    given = {**least("run_classifier.py"), "use_cuda": word}
    if word == "maybe":
        with pytest.raises(UserError, match="use_cuda: 'maybe' is neither"):
            train_args.from_keywords(given)
    else:
        assert train_args.from_keywords(given).run.use_cuda == "true"


@pytest.mark.parametrize("script", ["en_glue/preprocess/cvt.sh", "zh_task/pretrain.sh", *RECIPES])
def test_shell_scripts_of_2019_are_there(script):
    done = subprocess.run(["sh", "-n", str(ROOT / "script" / script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_propeller_needs_no_pythonpath():
    """From the folder of the project the package is found as it is."""
    done = subprocess.run([sys.executable, "-c", "import propeller"], cwd=ROOT, check=False)
    assert done.returncode == 0
