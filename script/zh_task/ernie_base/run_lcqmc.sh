#!/bin/sh
# LCQMC (whether two questions mean the same) with ERNIE base, Chinese: 32 examples a step on one GPU.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_lcqmc.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=1
data=$TASK_DATA_PATH/lcqmc
recipe run_classifier.py --batch_size 32 --epoch 3 --learning_rate 2e-5 --max_seq_len 128 \
    --warmup_proportion 0.0 --weight_decay 0.0 --num_labels 2 \
    --skip_steps 10 --save_steps 1000 --validation_steps 100 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
