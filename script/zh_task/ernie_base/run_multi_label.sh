#!/bin/sh
# Multi-label classification (which kinds of entities a Chinese sentence mentions) with ERNIE base, Chinese.
# hyper-parameters: ours. Data from tagged sentences: script/zh_task/preprocess/entity_kinds.py.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_multi_label.sh [flags of run_classifier.py]
. "$(dirname -- "$0")/../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=1
data=$TASK_DATA_PATH/entity_kinds
recipe run_classifier.py --batch_size 16 --epoch 3 --learning_rate 5e-5 --max_seq_len 128 \
    --warmup_proportion 0.1 --weight_decay 0.01 --multi_label true --tune_threshold one \
    --label_map_config "$data/label_map.json" --skip_steps 10 --save_steps 1000 --validation_steps 100 \
    --train_set "$data/train.tsv" --dev_set "$data/dev.tsv" --test_set "$data/test.tsv" "$@"
