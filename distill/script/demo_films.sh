#!/bin/sh
# Film reviews: the quickstart's encoder is fine-tuned on 2,000 of them, labels the others and copies of the first, and
# students learn from that. Ends with a table: teacher, students alone, students distilled; accuracy over seeds, rows a
# second on one core, MB. About an hour on two idle cores; run again, it goes on where it was.
#
#     sh distill/script/demo_films.sh [flags of benchmark/distillation.py]      # such as --students bow --seeds 1 2
set -eu
ROOT=$(cd -- "$(dirname -- "$0")/../.." && pwd -P)
. "$ROOT/script/env.sh"
make_venv
install_requirements requirements.txt
exec "$VENV/bin/python" "$ROOT/benchmark/distillation.py" --parts films --minutes 120 "$@"
