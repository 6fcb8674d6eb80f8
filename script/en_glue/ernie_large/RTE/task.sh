#!/bin/sh
# RTE (GLUE: whether one sentence entails another) with ERNIE 2.0 large, English: 16 examples a step on one GPU.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/en_glue/ernie_large/RTE/task.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=5
data=$TASK_DATA_PATH/RTE
recipe run_classifier.py --batch_size 16 --epoch 5 --learning_rate 3e-5 --max_seq_len 128 \
    --warmup_proportion 0.1 --weight_decay 0.0 --num_labels 2 --for_cn false \
    --skip_steps 10 --save_steps 1000 --validation_steps 0 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
