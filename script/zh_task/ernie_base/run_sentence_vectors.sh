#!/bin/sh
# Vectors of Chinese questions whose cosine says whether they ask the same (LCQMC), with ERNIE base, Chinese.
# hyper-parameters: ours
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_sentence_vectors.sh [flags of its program]
. "$(dirname -- "$0")/../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=1
data=$TASK_DATA_PATH/lcqmc
recipe finetune sentence_vectors --batch_size 64 --epoch 1 --learning_rate 3e-5 --max_seq_len 64 \
    --warmup_proportion 0.1 --weight_decay 0.01 --objective cosine --largest_score 1 --pooling mean \
    --skip_steps 10 --save_steps 1000 --validation_steps 500 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
