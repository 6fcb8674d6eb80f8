#!/bin/sh
# DRCD, simplified (Chinese reading comprehension) with ERNIE base, Chinese: 4 GPUs x 16 = 64 windows a step.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_drcd.sh [flags of run_mrc.py]
. "$(dirname -- "$0")/../../common.sh"
GPUS=4 LAUNCH=multi-process FP16=false REPEATS=1
data=$TASK_DATA_PATH/drcd
recipe run_mrc.py --batch_size 16 --epoch 2 --learning_rate 5e-5 --max_seq_len 512 \
    --warmup_proportion 0.0 --weight_decay 0.01 --in_tokens false --doc_stride 128 --do_lower_case true \
    --max_query_length 64 --max_answer_length 100 --n_best_size 20 \
    --skip_steps 10 --save_steps 1000 --validation_steps 100 \
    --train_set "$data/train.json" --dev_set "$data/dev.json" --test_set "$data/test.json" "$@"
