# The project's own Python: sourced by script/quickstart.sh, script/test.sh and script/common.sh, after they set ROOT.
#
#     ROOT=/path/of/the/repository; . "$ROOT/script/env.sh"
#     make_venv && install_requirements requirements.txt && "$VENV/bin/python" ...
#
# PYTHON=/usr/bin/python3.11   the Python to use, instead of the one that is found
# VENV=/somewhere/else         the virtual environment, instead of .venv in the repository
# PADDLE=gpu                   install Paddle's GPU build (requirements-gpu.txt) instead of the CPU one
# shellcheck shell=sh

VENV=${VENV:-$ROOT/.venv}

# help_asked ARGUMENTS...: whether one of them is --help or -h; then it has printed the comment at the head of $0.
help_asked() {
    for word in "$@"; do
        case $word in
        --help | -h)
            sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
            return 0
            ;;
        esac
    done
    return 1
}

# say WORDS...: one line to the terminal, on stderr so that it never mixes with a program's output.
say() { printf '%s\n' "$*" >&2; }

# die STATUS WORDS...: why it cannot go on, then the end.
die() { status=$1; shift; say "error: $*"; exit "$status"; }

# is_foreign DIR: whether it is a Hugging Face model, which --model takes as it is.
is_foreign() { [ -f "$1/config.json" ] && ! [ -f "$1/ernie_config.json" ]; }

# supported PYTHON: whether it is there and of a version that Paddle 3.3.1 has wheels for.
supported() {
    "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

# system_python: prints the Python to make the virtual environment with.
system_python() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || die 1 "PYTHON=$PYTHON is not a Python 3.9 - 3.12: set it to one, or unset it"
        printf '%s\n' "$PYTHON"
        return
    fi
    for candidate in python3 python3.12 python3.11 python3.10 python3.9; do
        if supported "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die 1 "no Python 3.9 - 3.12 found (python3 is $(python3 --version 2>&1 || true)):" \
        "install one, or name one with PYTHON=/path/to/python3.11"
}

# project_python: prints the Python that recipes run: $PYTHON, else the virtual environment's, else the system's.
project_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null || die 1 "PYTHON=$PYTHON is not there: name an existing Python, or unset it"
        printf '%s\n' "$PYTHON"
    elif [ -x "$VENV/bin/python" ]; then
        printf '%s\n' "$VENV/bin/python"
    else
        command -v python3 || die 1 "no python3 found: run sh script/quickstart.sh, or set PYTHON=/path/to/python"
    fi
}

# check_flags PROGRAM FLAGS...: a wrong flag of the user's ends it here, before anything is made or installed.
check_flags() {
    python=${PYTHON_FOUND:-$VENV/bin/python}
    [ -x "$python" ] || command -v "$python" >/dev/null || python=$(system_python) || exit $?
    "$python" "$ROOT/script/demo/check_flags.py" "sh $0" "$@" || exit $?
}

# make_venv: makes $VENV once; an environment that was left half made is made anew.
make_venv() {
    if [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
        return
    fi
    python=$(system_python) || exit $?
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die 1 "$python cannot make virtual environments: install its venv module" \
            "(on Debian or Ubuntu: apt-get install python3-venv)"
    say "making the virtual environment $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV" || die 1 "$python -m venv $VENV failed: see the lines above"
}

# pip_install LABEL ARGUMENTS...: pip's own last words, and ours, when something could not be got.
pip_install() {
    label=$1
    shift
    quiet=--quiet
    [ -t 1 ] && quiet=
    errors=$VENV/pip_errors.txt
    # shellcheck disable=SC2086  # $quiet is one word or none
    "$VENV/bin/python" -m pip install $quiet --disable-pip-version-check --retries 2 "$@" 2>"$errors" && return
    grep '^ERROR' "$errors" >&2 || tail -n 5 "$errors" >&2
    package=$(sed -n 's/^ERROR: No matching distribution found for \([^ ]*\).*/\1/p' "$errors" | tail -n 1)
    if [ -n "$package" ]; then
        die 1 "could not get the package $package ($label): is there a network connection to the package registry?"
    fi
    die 1 "could not install $label: pip's last words are above, all of them in $errors"
}

# install_requirements FILE: once per content of the file, remembered as a checksum in the virtual environment.
install_requirements() {
    stamp=$VENV/installed_${1%.txt}
    wanted=$(cat "$ROOT/$1" "$ROOT/requirements-gpu.txt" | cksum)" ${PADDLE:-cpu}"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    say "installing $1 into $VENV (the first time this downloads a few hundred megabytes)"
    # Both builds of Paddle own the folder `paddle`: the one that is not wanted must go, and must not be asked for.
    if [ "$1" = requirements.txt ] && [ -f "$stamp" ]; then
        "$VENV/bin/python" -m pip uninstall --quiet -y paddlepaddle paddlepaddle-gpu 2>/dev/null || true
    fi
    if [ "$1" = requirements.txt ] && [ "${PADDLE:-cpu}" = gpu ]; then
        grep -v '^paddlepaddle==' "$ROOT/$1" >"$VENV/requirements_without_paddle.txt"
        pip_install "$1 with requirements-gpu.txt" \
            -r "$VENV/requirements_without_paddle.txt" -r "$ROOT/requirements-gpu.txt"
    else
        pip_install "$1" -r "$ROOT/$1"
    fi
    printf '%s\n' "$wanted" >"$stamp"
}
