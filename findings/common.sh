# Shared by the findings. `in_venv PACKAGE ...` goes to a temporary folder with a virtual environment of these packages,
# which is removed at the end; `expect FILE` fails unless FILE holds the lines that the finding's head shows after "#   ".
set -eu
SELF=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
trap 'exit 130' INT TERM

in_venv() {
    "${PYTHON:-python3}" -m venv "$FOLDER/venv"
    "$FOLDER/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    PATH="$FOLDER/venv/bin:$PATH"
    cd "$FOLDER"
}

expect() {
    cat "$1"
    sed -n 's/^#   //p' "$SELF" | diff - "$1"
}
