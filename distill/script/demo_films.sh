#!/bin/sh
# Film reviews: the quickstart's encoder is fine-tuned on 2,000 of them, labels the others and copies of all, and
# students learn from that. Ends with a table: teacher, students alone, students distilled; accuracy over seeds, rows a
# second on one core, MB. Hours on two idle cores; run again, it goes on where it was.
#
#     sh distill/script/demo_films.sh
#     ROWS=300 sh distill/script/demo_films.sh --students bow transformer_2     # a few minutes
. "$(dirname -- "$0")/demo_common.sh"
begin "$@"
fetch encoder "$output/quickstart/model"
fetch sentiment "$work/data"
# shellcheck disable=SC2046  # these are words
demonstrate films --model "$output/quickstart/model" --data "$work/data" $(bounded 4000 3) "$@"
