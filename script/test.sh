#!/bin/sh
# The tests, in the project's own virtual environment:
#
#     sh script/test.sh                          style, shell syntax, and every test but the slow ones
#     sh script/test.sh --all                    the slow ones too (kill tests, whole recipes), with the optional packages
#     sh script/test.sh tests/test_recipes.py -x other words go to pytest
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/script/env.sh"

# `--all` is ours and may stand anywhere; every other word is kept, in order, for pytest.
marks="not slow"
for word in "$@"; do
    shift
    if [ "$word" = --all ]; then
        marks="slow or not slow"
    else
        set -- "$@" "$word"
    fi
done

make_venv
install_requirements requirements.txt
install_requirements requirements-dev.txt
if [ "$marks" != "not slow" ]; then # what is optional is tested too
    install_requirements requirements-onnx.txt
    install_requirements requirements-pretrain.txt
fi

cd "$ROOT"
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
find script -name '*.sh' | while read -r file; do
    sh -n "$file"
done
"$VENV/bin/python" -m pytest -m "$marks" "$@" </dev/null
