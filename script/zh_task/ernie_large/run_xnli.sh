#!/bin/sh
# XNLI (whether one Chinese sentence entails another) with ERNIE 2.0 large, Chinese:
# 8 GPUs x 8192 = 65536 tokens a step.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_large/run_xnli.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../common.sh"
GPUS=8 LAUNCH=multi-process FP16=false REPEATS=1
data=$TASK_DATA_PATH/xnli
recipe run_classifier.py --batch_size 8192 --epoch 3 --learning_rate 4e-5 --max_seq_len 512 \
    --warmup_proportion 0.0 --weight_decay 0.01 --num_labels 3 --in_tokens true \
    --skip_steps 10 --save_steps 1000 --validation_steps 25 --label_map_config "$data/label_map.json" \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
