# The Chinese encoder that sh script/zh_task/pretrain.sh --full makes: sourced by what starts from it, after script/env.sh.
# shellcheck shell=sh

# zh_encoder_found FOLDER: whether it is there, as FOLDER/model or as FOLDER/weights, the form in which it is passed on.
zh_encoder_found() { [ -f "$1/model/ernie_config.json" ] || { [ ! -e "$1/model" ] && [ -f "$1/weights/model.safetensors" ]; }; }

# zh_encoder FOLDER: prints FOLDER/model, made of FOLDER/weights where these alone are there; nothing where neither is.
zh_encoder() {
    zh_encoder_found "$1" || return 0
    if [ ! -e "$1/model" ]; then
        PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} "$VENV/bin/python" -m ernie.convert --from hf --to params \
            "$1/weights" "$1/model" >&2 || return $?
    fi
    printf '%s\n' "$1/model"
}

# zh_start OUTPUT: sets `model`, what a demonstration in Chinese starts from, and `made`: empty where that is an encoder with
# random weights, which is still to be made there.
zh_start() {
    model=$(zh_encoder "$1/zh_encoder") || exit $?
    made=$model
    if [ -n "$made" ]; then
        say "starting from the encoder in $model"
    else
        model=$1/demo/random-encoder
        say "starting from random weights: there is no encoder in $1/zh_encoder, which sh script/zh_task/pretrain.sh --full makes"
    fi
}
