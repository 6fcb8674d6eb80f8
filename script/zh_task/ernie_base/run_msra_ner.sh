#!/bin/sh
# MSRA-NER (persons, places and organisations in Chinese news) with ERNIE base, Chinese:
# 16 sentences a step on one GPU.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_msra_ner.sh [its flags]
. "$(dirname -- "$0")/../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=1
data=$TASK_DATA_PATH/msra_ner
recipe run_sequence_labeling.py --batch_size 16 --epoch 6 --learning_rate 5e-5 --max_seq_len 256 \
    --warmup_proportion 0.0 --weight_decay 0.01 --num_labels 7 --chunk_scheme IOB \
    --skip_steps 10 --save_steps 1000 --validation_steps 100 --label_map_config "$data/label_map.json" \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
