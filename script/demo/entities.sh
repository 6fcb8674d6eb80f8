#!/bin/sh
# Persons, places and organisations in Chinese news, from a small encoder with random weights, in one command; a few
# minutes on two cores, after the downloads:
#
#     sh script/demo/entities.sh [flags of run_sequence_labeling.py]
#
# The unchanged MSRA-NER recipe on 8,000 sentences of the People's Daily. Settings: script/demo/common.sh.
. "$(dirname -- "$0")/common.sh"
demo entities random-encoder zh_task/ernie_base/run_msra_ner.sh msra_ner --batch_size 16 --epoch 1 \
    --learning_rate 1e-3 --warmup_proportion 0.1 --max_seq_len 96 --bucket_window 1024 --validation_steps 0 "$@"
