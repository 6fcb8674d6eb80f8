#!/bin/sh
# Several tasks over one encoder (reviews, inference, entities: multitask.json) with ERNIE base, Chinese.
# hyper-parameters: ours
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh script/zh_task/ernie_base/run_multitask.sh [flags of python -m finetune multitask]
. "$(dirname -- "$0")/../../common.sh"
GPUS=1 LAUNCH=single FP16=false REPEATS=1
recipe finetune multitask --tasks "$HERE/multitask.json" --data_dir "$TASK_DATA_PATH" --batch_size 32 --epoch 3 \
    --learning_rate 5e-5 --max_seq_len 256 --warmup_proportion 0.1 --weight_decay 0.01 --do_test true \
    --skip_steps 10 --save_steps 1000 --validation_steps 1000 "$@"
