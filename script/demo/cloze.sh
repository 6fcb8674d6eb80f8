#!/bin/sh
# Which name is missing from a sentence of a news paragraph? Reading comprehension from a small encoder with random
# weights, in one command; a few minutes on two cores, after the downloads:
#
#     sh script/demo/cloze.sh [flags of run_mrc.py]
#
# The unchanged CMRC2018 recipe on 4,000 cloze questions. That is far too few to learn to read from nothing: it shows
# the way, not a result. Settings: script/demo/common.sh.
. "$(dirname -- "$0")/common.sh"
demo cloze random-encoder zh_task/ernie_base/run_cmrc2018.sh cmrc2018 --batch_size 16 --epoch 2 \
    --learning_rate 5e-4 --warmup_proportion 0.1 --max_seq_len 192 --max_answer_length 12 \
    --bucket_window 1024 --validation_steps 0 "$@"
