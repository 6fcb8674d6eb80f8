#!/bin/sh
# Chinese reviews of books, hotels and things: a small encoder is trained on 9,000 of them and is the teacher; students
# learn from copies of them too. The encoder is output/zh_encoder (script/zh_encoder.sh) where it is there, else one with random
# weights. Ends with a table as that of demo_films.sh. No ChnSentiCorp figure may come from this: its data have most of that
# set in them.
#
#     sh distill/script/demo_reviews.sh
#     ROWS=1000 sh distill/script/demo_reviews.sh --students bow cnn            # a few minutes
. "$(dirname -- "$0")/demo_common.sh"
. "$ROOT/script/zh_encoder.sh"
begin "$@"
"$VENV/bin/python" -c 'import jieba' 2>/dev/null ||
    pip_install jieba "$(sed -n 's/^\(jieba[^ ]*\).*/\1/p' "$ROOT/requirements-pretrain.txt")"
zh_start "$output"
[ -n "$made" ] || fetch random-encoder "$model"
fetch reviews "$work/data"
# shellcheck disable=SC2046  # these are words
demonstrate chnsenticorp --model "$model" --data "$work/data" --labelled 9000 --copies 2 \
    --ratio 1 --teacher_epochs 2 --teacher_rate 3e-4 $(bounded 9000 2) "$@"
