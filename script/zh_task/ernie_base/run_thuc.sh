#!/bin/sh
# THUCNews (topic of a Chinese news text, in ten classes) with ERNIE base, Chinese: 8 GPUs x 8 = 64 examples a step.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_thuc.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../common.sh"
GPUS=8 LAUNCH=multi-process FP16=false REPEATS=1
data=$TASK_DATA_PATH/thuc
recipe run_classifier.py --batch_size 8 --epoch 3 --learning_rate 3e-5 --max_seq_len 512 \
    --warmup_proportion 0.0 --weight_decay 0.01 --num_labels 10 --task_id 2 \
    --skip_steps 10 --save_steps 1000 --validation_steps 100 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
