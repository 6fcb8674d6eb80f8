#!/bin/sh
# onnxruntime 1.32.0 and openvino 2026.4.1 on Linux: `import` alone puts a number for this user, made by chance, into files in
# the home directory, without a question or a line of output, for reports of use to their makers. A host that shall
# send nothing and write nowhere but where it is told has to turn that off before the import. For onnxruntime that is
# ORT_DISABLE_TELEMETRY=1; openvino imports its package openvino_telemetry where there is one, and goes on without it.
# This script runs both as they are, so it may report two imports from the machine that it runs on.
# Output seen (Python 3.11):
#   onnxruntime 1.32.0: .cache/Microsoft/DeveloperTools/.onnxruntime/deviceid
#   onnxruntime 1.32.0, turned off: nothing
#   openvino 2026.4.1: intel/openvino_ga_cid
#   openvino 2026.4.1, without openvino_telemetry: nothing
. "$(dirname "$0")/common.sh"
in_venv onnxruntime==1.32.0 openvino==2026.4.1
written() { # a fresh home, the module imported; the file with the number in it, or nothing
    rm -rf home
    mkdir home
    env -u XDG_CACHE_HOME HOME="$FOLDER/home" ${2:-} python -c "import $1" >log 2>&1 || cat log >&2
    found=$(cd home && find . -type f -name 'deviceid' -o -type f -name '*_cid' | sed 's|^\./||')
    echo "${found:-nothing}"
}
{
    echo "onnxruntime 1.32.0: $(written onnxruntime)"
    echo "onnxruntime 1.32.0, turned off: $(written onnxruntime ORT_DISABLE_TELEMETRY=1)"
    echo "openvino 2026.4.1: $(written openvino)"
    python -m pip uninstall --quiet --yes openvino-telemetry >log 2>&1
    echo "openvino 2026.4.1, without openvino_telemetry: $(written openvino)"
} >seen
expect seen
