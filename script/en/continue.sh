#!/bin/sh
# Pre-trains a model further on your own English text and fine-tunes what comes of it, in one command; see --help.
#     MODEL_PATH=DIR TEXT=FILE TASK_DATA_PATH=DIR sh script/en/continue.sh [flags of train.py]
LANGUAGE=en SEGMENTER=${SEGMENTER:-english} RECIPE=${RECIPE:-script/en_glue/ernie_base/SST-2/task.sh} STEPS=${STEPS:-1000}
. "$(dirname -- "$0")/../continue_common.sh"
continued "$@"
