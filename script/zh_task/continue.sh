#!/bin/sh
# Pre-trains a model further on your own Chinese text and fine-tunes what comes of it, in one command; see --help.
#     MODEL_PATH=DIR TEXT=FILE TASK_DATA_PATH=DIR sh script/zh_task/continue.sh [flags of train.py]
LANGUAGE=zh SEGMENTER=${SEGMENTER:-jieba} RECIPE=${RECIPE:-script/zh_task/ernie_base/run_ChnSentiCorp.sh} STEPS=${STEPS:-1000}
. "$(dirname -- "$0")/../continue_common.sh"
continued "$@"
