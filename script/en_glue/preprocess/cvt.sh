#!/bin/sh
# GLUE as it is downloaded -> TSV files of the readers, in ./glue_data_processed/ (or OUT_DIR):
#
#     sh script/en_glue/preprocess/cvt.sh RAW_DIR [OUT_DIR]
#     export TASK_DATA_PATH=$PWD/glue_data_processed
#
# RAW_DIR holds CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI and diagnostic; what is not there is left out.
set -eu
HERE=$(cd -- "$(dirname -- "$0")" && pwd -P)
ROOT=${HERE%/script/*}
. "$ROOT/script/env.sh"
[ $# -ge 1 ] && [ $# -le 3 ] || die 2 "usage: sh $0 RAW_DIR [OUT_DIR [--allow_refused]]"
python=$(project_python) || exit $?
exec "$python" "$HERE/convert.py" "$1" "${2:-glue_data_processed}" ${3:+"$3"}
