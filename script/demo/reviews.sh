#!/bin/sh
# Is a Chinese review of a book, a hotel or a thing a good one? From a small encoder with random weights, in one
# command; a few minutes on two cores, after the downloads:
#
#     sh script/demo/reviews.sh [flags of run_classifier.py]
#
# The unchanged ChnSentiCorp recipe on 9,000 reviews, each cut at 64 characters. No ChnSentiCorp figure may come from
# this model: its data have most of that set in them. Settings: script/demo/common.sh.
. "$(dirname -- "$0")/common.sh"
demo reviews random-encoder zh_task/ernie_base/run_ChnSentiCorp.sh chnsenticorp --batch_size 16 --epoch 1 \
    --learning_rate 3e-4 --warmup_proportion 0.1 --max_seq_len 64 --bucket_window 1024 --validation_steps 0 "$@"
