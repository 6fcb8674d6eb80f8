#!/bin/sh
# How strong is the sentiment of a film-review sentence? Regression from a small pre-trained English encoder, in one
# command; a few minutes on two cores, after the downloads:
#
#     sh script/demo/strength.sh [flags of run_classifier.py]
#
# The unchanged STS-B recipe on 5,000 sentences with the mean of the scores that people gave them, from -4 to 4.
# Settings: script/demo/common.sh.
. "$(dirname -- "$0")/common.sh"
demo strength encoder en_glue/ernie_base/STS-B/task.sh STS-B --batch_size 32 --epoch 1 --learning_rate 1e-4 \
    --max_seq_len 64 --bucket_window 1024 "$@"
