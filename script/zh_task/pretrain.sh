#!/bin/sh
# Pre-trains ERNIE 1.0, Chinese: the published 8 GPUs with 8192 tokens each a step, a million steps.
#     MODEL_PATH=DIR sh script/zh_task/pretrain.sh --train_filelist FILE --valid_filelist FILE [flags of train.py]
# Without --train_filelist: a demonstration on two cores, a few minutes after the downloads; --full: hours; see --help.
LANGUAGE=zh CONFIG=ernie_config_zh_base_1.0.json GPUS=8 FP16=false
EXAMPLE='中国[MASK][MASK]发展经济。' TASK=script/zh_task/ernie_base/run_msra_ner.sh
. "$(dirname -- "$0")/../pretrain_common.sh"
own_shards "$@" || full "$@" || demonstrate "$@"
pretrain --batch_size 8192 --in_tokens true --max_seq_len 512 --learning_rate 1e-4 --weight_decay 0.01 \
    --num_train_steps 1000000 --warmup_steps 5000 --validation_steps 100 --save_steps 10000 --skip_steps 10 \
    --weight_sharing true "$@"
