#!/bin/sh
# Speed, memory and loss of mixed precision on one GPU, beside fp32: base and large, fused attention, and training without
# padding. UNPROVEN: written on a machine without a GPU; nothing in it but its plan has run.
#
#     sh benchmark/gpu.sh                       # everything; results in benchmark/results/gpu.jsonl
#     sh benchmark/gpu.sh --dry_run             # the commands, without running them; needs no GPU
#     sh benchmark/gpu.sh --models base --precisions "fp32 bf16"
#
# MODELS (base large), PRECISIONS (fp32 fp16 bf16), STEPS (60) and PYTHON may be given as variables, too.
set -eu

HERE=$(cd -- "$(dirname -- "$0")" && pwd -P)
ROOT=${HERE%/benchmark}
. "$ROOT/script/env.sh"

MODELS=${MODELS:-base large} PRECISIONS=${PRECISIONS:-fp32 fp16 bf16} STEPS=${STEPS:-60} dry_run=0

while [ $# -gt 0 ]; do
    case $1 in
    --dry_run) dry_run=1 ;;
    --models | --precisions | --steps)
        [ $# -ge 2 ] || die 2 "$1 needs a value"
        case $1 in --models) MODELS=$2 ;; --precisions) PRECISIONS=$2 ;; *) STEPS=$2 ;; esac
        shift
        ;;
    -h | --help)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit
        ;;
    *) die 2 "unknown argument $1: see sh benchmark/gpu.sh --help" ;;
    esac
    shift
done

for model in $MODELS; do
    case $model in base | large) ;; *) die 2 "--models $model: base, large, or both in quotes" ;; esac
done
for precision in $PRECISIONS; do
    case $precision in fp32 | fp16 | bf16) ;; *) die 2 "--precisions $precision: of fp32, fp16 and bf16" ;; esac
done
case $STEPS in '' | *[!0-9]*) die 2 "--steps $STEPS: a whole number" ;; esac

python=$(project_python) || exit $?
if [ "$dry_run" = 0 ]; then
    "$python" -c 'import sys, paddle; sys.exit(not (paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count()))' \
        2>/dev/null || die 2 "benchmark/gpu.sh needs a GPU and Paddle's GPU build (requirements-gpu.txt);" \
        "--dry_run shows what it would run"
fi

step() {
    if [ "$dry_run" = 1 ]; then printf '%s\n' "$*"; else "$@"; fi
}

# The recipes' shapes: pairs of sentences are 128 tokens, reading comprehension 384.
for model in $MODELS; do
    case $model in base) short=32 long=16 ;; large) short=16 long=4 ;; esac
    for shape in "$short 128" "$long 384"; do
        for precision in $PRECISIONS; do
            step "$python" "$HERE/gpu.py" training --config "$ROOT/config/ernie_config_en_$model.json" \
                --batch_size "${shape% *}" --max_seq_len "${shape#* }" --precision "$precision" --steps "$STEPS"
        done
    done
    for precision in fp16 bf16; do
        case " $PRECISIONS " in *" $precision "*) ;; *) continue ;; esac
        for part in attention packed; do
            step "$python" "$HERE/gpu.py" "$part" --config "$ROOT/config/ernie_config_en_$model.json" \
                --batch_size "$long" --max_seq_len 384 --precision "$precision" --steps "$STEPS"
        done
    done
done
step "$python" "$HERE/gpu.py" report
