#!/bin/sh
# ChnSentiCorp: a bag of words learns from ERNIE, which a server of its own answers while the student learns.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh distill/script/distill_chnsenticorp_with_propeller_server.sh [flags]
. "$(dirname -- "$0")/common.sh"
begin "$@"
: "${PORT:=8113}"
prepare_data
train_teacher
set -- --teacher "http://127.0.0.1:$PORT" --unlabelled_set "$work/unlabelled.tsv" \
    --teacher_labels "$work/unlabelled.tsv.asked" "$@"
if [ "$DRY_RUN" = 1 ]; then
    run "$python" -m propeller.tools.start_server -m "$work/bundle/best_inference_model" -p "$PORT" --use_cuda "$USE_CUDA"
    train_student "$@"
    exit
fi
# The server is started here and ended here, by its own number; no other process is touched.
"$python" -m propeller.tools.start_server -m "$work/bundle/best_inference_model" -p "$PORT" --use_cuda "$USE_CUDA" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
"$python" distill/script/wait_for.py "http://127.0.0.1:$PORT" "$server"
train_student "$@"
