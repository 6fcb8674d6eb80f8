# What the demonstrations share; a demonstration sources it, names itself and calls `demo`:
#
#     . "$(dirname -- "$0")/common.sh"
#     demo reviews random-encoder zh_task/ernie_base/run_ChnSentiCorp.sh chnsenticorp --epoch 1 ... "$@"
#
# Settings a user may give: ROWS=N training rows at most, OUTPUT=DIR in place of output/, and those of
# script/quickstart.sh: PYTHON and PADDLE for making .venv, DEVICES=cpu. Everything goes under output/demo/, or with
# ROWS=N under output/demo_N/; downloads and the English encoder are shared with the quickstart. The Chinese ones start from
# output/zh_encoder (script/zh_encoder.sh) where it is there, else from random weights. Run again, each reuses what is there
# and continues a run that was interrupted.
# shellcheck shell=sh
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$ROOT/script/env.sh"
. "$ROOT/script/zh_encoder.sh"

# demo NAME ENCODER RECIPE FOLDER FLAGS...: data, encoder, the unchanged recipe, the report.
demo() {
    name=$1 encoder=$2 recipe=$3 folder=$4
    shift 4
    ! help_asked "$@" || exit 0
    check_flags "$(sed -n 's/^recipe \([^ ]*\).*/\1/p' "$ROOT/script/$recipe")" "$@"
    make_venv
    install_requirements requirements.txt

    output=${OUTPUT:-$ROOT/output}
    work=$output/demo${ROWS:+_$ROWS}
    cache=$output/quickstart/downloads
    model=$output/quickstart/model made=
    [ "$encoder" = encoder ] || zh_start "$output"
    [ -n "$made" ] || "$VENV/bin/python" "$ROOT/script/demo/demo_data.py" "$encoder" --out "$model" --cache "$cache"
    "$VENV/bin/python" "$ROOT/script/demo/demo_data.py" "$name" --out "$work/data" --cache "$cache" ${ROWS:+--rows "$ROWS"}

    PYTHON=$VENV/bin/python MODEL_PATH=$model TASK_DATA_PATH=$work/data OUTPUT=$work SEEDS=1 KEEP_BATCH=0 \
        sh "$ROOT/script/$recipe" "$@"

    # As script/common.sh names results: .../STS-B for .../STS-B/task.sh, .../bq for .../run_bq.sh.
    result=$(printf '%s\n' "${recipe%.sh}" | sed 's|/task$||; s|/run_\([^/]*\)$|/\1|')
    "$VENV/bin/python" "$ROOT/script/demo/demo_report.py" "$name" --checkpoints "$work/$result/seed_1" \
        --data "$work/data/$folder"
}
