"""Check the flags of a script's user before anything is installed: a wrong one is one line, and status 2.

    python script/demo/check_flags.py "sh script/quickstart.sh" run_classifier.py --epoch 1

Any Python with its standard library will do. Flags are declared in modules that import other packages; as reading flags
uses none of these, an empty stand-in takes the place of each that is not installed.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from propeller.errors import exit_on_user_error
from propeller.flags import read_flags

PACKAGES = ("numpy", "paddle", "safetensors", "scipy", "sentencepiece", "sklearn", "tokenizers", "tqdm")
TASK_OF = {"run_classifier.py": "classify", "run_sequence_labeling.py": "sequence_label", "run_mrc.py": "mrc"}
OF_RECIPES = ("--dry_run",)  # what script/common.sh takes itself


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives an empty module for each of ``PACKAGES`` that no other finder finds."""

    def find_spec(self, fullname, path=None, target=None):
        return importlib.util.spec_from_loader(fullname, self) if fullname.split(".")[0] in PACKAGES else None

    def create_module(self, spec):
        return MagicMock(name=spec.name, __path__=[], __spec__=spec)

    def exec_module(self, module):
        pass


def parser_of(shown: str, program: str):
    """The parser of the flags of a program, or of a task of ``python -m finetune``; its messages name ``shown``."""
    if program == "benchmark/distillation.py":
        return importlib.import_module("benchmark.distillation").build_parser(shown)
    if program == "train.py":
        return importlib.import_module("pretrain.training.args").build_parser(shown, "")
    flags = importlib.import_module("finetune").flags_of(TASK_OF.get(program, program))
    return importlib.import_module("finetune.training.args").build_parser(shown, "", flags.task)


def main(argv: Sequence[str]) -> int:
    """Exit status 0. Raises UserError: an unknown flag, or a value of the wrong kind."""
    shown, program, *words = argv
    sys.meta_path.append(StandIns())
    try:
        read_flags(parser_of(shown, program), [word for word in words if word not in OF_RECIPES])
    except (ImportError, TypeError) as error:  # more than stand-ins is needed: the program checks its flags itself
        print(f"{program}: its flags are checked later ({error})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    exit_on_user_error(main, sys.argv[1:])
