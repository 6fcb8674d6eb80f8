#!/bin/sh
# Chinese reviews of books, hotels and things: a small encoder with random weights is trained on 9,000 of them and is the
# teacher; students learn from copies of them too. Ends with a table as that of demo_films.sh. No ChnSentiCorp figure may
# come from this: its data have most of that set in them. Needs jieba: pip install -r requirements-pretrain.txt.
#
#     sh distill/script/demo_reviews.sh [flags of benchmark/distillation.py]
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$ROOT/script/env.sh"
make_venv
install_requirements requirements.txt
install_requirements requirements-pretrain.txt
work=$ROOT/output/distill/demo_reviews
cache=$ROOT/output/quickstart/downloads
for what in random-encoder reviews; do
    "$VENV/bin/python" "$ROOT/script/demo/demo_data.py" "$what" --out "$work/$what" --cache "$cache"
done
exec "$VENV/bin/python" "$ROOT/benchmark/distillation.py" --parts chnsenticorp --minutes 120 --labelled 9000 --copies 2 \
    --ratio 1 --teacher_epochs 2 --teacher_rate 3e-4 --model "$work/random-encoder" --data "$work/reviews" "$@"
