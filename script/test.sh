#!/bin/sh
# The tests, in the project's own virtual environment:
#
#     sh script/test.sh                          style, types, shell syntax, and every test but the slow ones
#     sh script/test.sh --all                    the slow ones too (kill tests, whole recipes), with the optional packages
#     sh script/test.sh --as-cpu avx2            as on a processor without AVX-512: oneDNN and MKL take the AVX2 kernels
#     sh script/test.sh tests/script/test_recipes.py -x other words go to pytest
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/script/env.sh"

# `--all` and `--as-cpu` are ours and may stand anywhere; every other word is kept, in order, for pytest.
marks="not slow"
cpu=
for word in "$@"; do
    shift
    if [ "$cpu" = next ]; then
        cpu=$word
    elif [ "$word" = --as-cpu ]; then
        cpu=next
    elif [ "$word" = --all ]; then
        marks="slow or not slow"
    else
        set -- "$@" "$word"
    fi
done
case $cpu in
"") ;;
avx2) export ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 ;;
*)
    echo "error: --as-cpu takes avx2" >&2
    exit 2
    ;;
esac

make_venv
install_requirements requirements.txt
install_requirements requirements-dev.txt
if [ "$marks" != "not slow" ]; then # what is optional is tested too
    install_requirements requirements-data.txt
    install_requirements requirements-docs.txt
    install_requirements requirements-engines.txt
    install_requirements requirements-onnx.txt
    install_requirements requirements-pretrain.txt
    install_requirements requirements-search.txt
    install_requirements requirements-sweep.txt
fi

cd "$ROOT"
ours=$(git ls-files '*.py' 2>/dev/null || true) # a user's own files here are none of the project's
# shellcheck disable=SC2086  # these are words: no name of ours has a space
"$VENV/bin/ruff" check ${ours:-.}
# shellcheck disable=SC2086
"$VENV/bin/ruff" format --check ${ours:-.}
if [ -x "$VENV/bin/mypy" ]; then # there is none for Python 3.9
    "$VENV/bin/mypy"
fi
find script -name '*.sh' | while read -r file; do
    sh -n "$file"
done
# The whole suite runs a file a core: most tests wait for processes of their own. Words for pytest: one process, as it is.
if [ $# -eq 0 ]; then
    set -- -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder # tests/conftest.py orders them
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
fi
"$VENV/bin/python" -m pytest -m "$marks" "$@" </dev/null
