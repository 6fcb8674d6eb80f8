#!/bin/sh
# Chinese data sets as their owners distribute them -> files of the readers, in ./zh_data_processed/ (or OUT_DIR):
#
#     sh script/zh_task/preprocess/cvt.sh RAW_DIR [OUT_DIR]
#     export TASK_DATA_PATH=$PWD/zh_data_processed
#
# The files it looks for are listed in convert.py; what is not there is left out.
set -eu
HERE=$(cd -- "$(dirname -- "$0")" && pwd -P)
ROOT=${HERE%/script/*}
. "$ROOT/script/env.sh"
[ $# -ge 1 ] && [ $# -le 3 ] || die 2 "usage: sh $0 RAW_DIR [OUT_DIR [--allow_refused]]"
python=$(project_python) || exit $?
exec "$python" "$HERE/convert.py" "$1" "${2:-zh_data_processed}" ${3:+"$3"}
