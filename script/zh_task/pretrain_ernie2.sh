#!/bin/sh
# Pre-trains ERNIE 2.0 base, Chinese: the published 393,216 tokens a step, 8192 on each of 48 GPUs, tasks entering in turn.
#     MODEL_PATH=DIR sh script/zh_task/pretrain_ernie2.sh --task_data DIR [flags of train.py]
# Without --task_data: a demonstration on two cores, some minutes after the downloads; see --help.
LANGUAGE=zh CONFIG=ernie2_base_zh.json GPUS=48 FP16=false
EXAMPLE='中国[MASK][MASK]发展经济。' TASK=script/zh_task/ernie_base/run_msra_ner.sh
. "$(dirname -- "$0")/../pretrain_ernie2_common.sh"
own_tasks "$@" || demonstrate_tasks "$@"
pretrain --task_list "$ROOT/config/task_list_zh.json" --batch_size 8192 --in_tokens true --max_seq_len 512 \
    --learning_rate 1.28e-4 --lr_scheduler noam_decay --warmup_steps 4000 --warmup_restart true --beta2 0.98 \
    --weight_decay 0.01 --validation_steps 10000 --save_steps 10000 --skip_steps 10 --weight_sharing true "$@"
