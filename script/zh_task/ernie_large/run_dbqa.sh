#!/bin/sh
# NLPCC2016-DBQA (which sentence answers a question, by rank) with ERNIE 2.0 large, Chinese:
# 8 GPUs x 8 = 64 examples a step.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_large/run_dbqa.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../common.sh"
GPUS=8 LAUNCH=multi-process FP16=false REPEATS=1
data=$TASK_DATA_PATH/nlpcc-dbqa
recipe run_classifier.py --batch_size 8 --epoch 3 --learning_rate 1e-5 --max_seq_len 512 \
    --warmup_proportion 0.0 --weight_decay 0.01 --num_labels 2 --metric acc_and_f1_and_mrr \
    --skip_steps 10 --save_steps 1000 --validation_steps 1000 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
