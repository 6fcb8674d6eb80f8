#!/bin/sh
# Multiple choice (C3: Chinese reading comprehension with options) with ERNIE base, Chinese.
# hyper-parameters: ours. Data as distributed: script/zh_task/preprocess/c3.py.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_c3.sh [flags of python -m finetune multiple_choice]
. "$(dirname -- "$0")/../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=1
data=$TASK_DATA_PATH/c3
recipe finetune multiple_choice --batch_size 8 --epoch 4 --learning_rate 2e-5 --max_seq_len 512 \
    --warmup_proportion 0.1 --weight_decay 0.01 --skip_steps 10 --save_steps 1000 --validation_steps 500 \
    --train_set "$data/train.jsonl" --dev_set "$data/dev.jsonl" --test_set "$data/test.jsonl" "$@"
