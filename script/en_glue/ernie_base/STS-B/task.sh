#!/bin/sh
# STS-B (GLUE: how alike two sentences are, from 0 to 5) with ERNIE 2.0 base, English:
# 8 GPUs x 16 = 128 examples a step.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/en_glue/ernie_base/STS-B/task.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../../common.sh"
GPUS=8 LAUNCH=multi-process FP16=false REPEATS=5
data=$TASK_DATA_PATH/STS-B
recipe run_classifier.py --batch_size 16 --epoch 3 --learning_rate 5e-5 --max_seq_len 128 \
    --warmup_proportion 0.1 --weight_decay 0.0 --num_labels 1 --is_classify false --metric pearson_and_spearman \
    --is_regression true --for_cn false \
    --skip_steps 10 --save_steps 1000 --validation_steps 0 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
