#!/bin/sh
# QNLI (GLUE: whether a sentence answers a question) with ERNIE 2.0 large, English: 8 GPUs x 32 = 256 examples a step.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/en_glue/ernie_large/QNLI/task.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../../common.sh"
GPUS=8 LAUNCH=multi-process FP16=false REPEATS=5
data=$TASK_DATA_PATH/QNLI
recipe run_classifier.py --batch_size 32 --epoch 4 --learning_rate 2e-5 --max_seq_len 128 \
    --warmup_proportion 0.1 --weight_decay 0.0 --num_labels 2 --for_cn false \
    --skip_steps 10 --save_steps 1000 --validation_steps 0 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
