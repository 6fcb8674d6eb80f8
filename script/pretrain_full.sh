# The small Chinese encoder that the demonstrations start from: sh script/zh_task/pretrain.sh --full [--minutes N].
# Sourced by script/pretrain_common.sh when that flag is given; FULL is its folder.
#
# Three stages over one task list: instances of 12 tokens, of 64, then of 128 with whole words masked. The text is that of
# the package registry (script/demo/pretrain_corpus.py, pretrain_corpus_more.py); documents that hold a text of the demonstrations'
# dev and test sets, or of the files in EXCLUDE, are left out.
# shellcheck shell=sh
: "${EXCLUDE:=}" "${NETWORK:=$ROOT/config/ernie_small_zh.json}" "${FULL_STEPS:=12000}"
FULL=$OUTPUT/zh_encoder CACHE=$OUTPUT/quickstart/downloads

# full_encoder FLAGS...: data, training within the minutes, weights.
full_encoder() {
    minutes=
    for word in "$@"; do
        shift
        case $word in
        --full) ;;
        --minutes) minutes=next ;;
        --minutes=*) minutes=${word#*=} ;;
        *) if [ "$minutes" = next ]; then minutes=$word; else set -- "$@" "$word"; fi ;;
        esac
    done
    case "$minutes" in *[!0-9]* | 0*) die 2 "--minutes $minutes: give a whole number of minutes from 1" ;; esac
    demo_start ernie_mini "$@"
    VOCAB=$FULL/vocab.txt CONFIG_PATH=$NETWORK DEMO=$FULL SENTENCES=
    [ "$DRY_RUN" = 1 ] || full_data
    [ -z "$minutes" ] || PYTHON_FOUND=$(bounded_python "$minutes")
    short=$((FULL_STEPS / 6)) middle=$((FULL_STEPS / 3))
    status=0
    train_only "$FULL/model" --task_list "$FULL/tasks.json" --task_data "$FULL" --batch_size 2048 --in_tokens true \
        --max_seq_len 128 --learning_rate 1e-3 --beta2 0.98 --weight_decay 0.01 --dropout 0 --warmup_steps $((FULL_STEPS / 30)) \
        --validation_steps $(((FULL_STEPS + 9) / 10)) --save_steps 500 --skip_steps 100 --shuffle_buffer 200000 \
        --mask_units "basic:0,word:$((short + middle))" "$@" || status=$?
    [ "$DRY_RUN" != 1 ] || exit 0
    PYTHON_FOUND=$(project_python)
    [ "$status" != 124 ] ||
        die 3 "the $minutes minutes are used up; the same command goes on from the last checkpoint in $FULL/model"
    [ "$status" = 0 ] || exit "$status"
    full_weights
}

# bounded_python MINUTES: a program that runs Python and lets it write a checkpoint when the minutes are used up.
bounded_python() {
    program=$FULL/.python
    if [ "$DRY_RUN" = 1 ]; then
        printf '%s\n' "$PYTHON_FOUND"
        return
    fi
    printf '#!/bin/sh\nexec timeout --signal=TERM --foreground %s %s "$@"\n' "${1}m" "$(quoted "$PYTHON_FOUND")" >"$program"
    chmod +x "$program"
    printf '%s\n' "$program"
}

# full_data: text, vocabulary, shards of three lengths, the task list.
full_data() {
    PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} && export PYTHONPATH
    mkdir -p "$FULL"
    for name in reviews entities; do
        "$PYTHON_FOUND" "$ROOT/script/demo/demo_data.py" "$name" --out "$FULL/held_out" --cache "$CACHE"
    done
    # shellcheck disable=SC2086  # EXCLUDE is several files
    "$PYTHON_FOUND" "$ROOT/script/demo/pretrain_corpus.py" --out "$FULL/text" --cache "$CACHE" --exclude \
        "$FULL/held_out/chnsenticorp/dev.tsv" "$FULL/held_out/chnsenticorp/test.tsv" \
        "$FULL/held_out/msra_ner/dev.tsv" "$FULL/held_out/msra_ner/test.tsv" $EXCLUDE
    # shellcheck disable=SC2086
    "$PYTHON_FOUND" "$ROOT/script/demo/pretrain_corpus_more.py" --out "$FULL/more" --cache "$CACHE" --exclude \
        "$FULL/held_out/chnsenticorp/dev.tsv" "$FULL/held_out/chnsenticorp/test.tsv" \
        "$FULL/held_out/msra_ner/dev.tsv" "$FULL/held_out/msra_ner/test.tsv" $EXCLUDE
    if [ ! -f "$VOCAB" ]; then
        sed 's|/[A-Za-z]\{1,8\}  *| |g; s|/[A-Za-z]\{1,8\}$||' "$FULL/text/news.txt" >"$FULL/.news.txt" # without tags
        "$PYTHON_FOUND" -m pretrain.build_vocab --input "$FULL/.news.txt" "$FULL/text/reviews.txt" "$FULL"/more/*.txt \
            --size 8000 --output "$VOCAB"
        rm "$FULL/.news.txt"
    fi
    for length in 12 64 128; do
        full_shards "$length"
    done
    cat >"$FULL/.tasks.new" <<EOF
{"tasks": [
 {"name": "knowledge_masking", "task_id": 0, "head": {"next_sentence": false},
  "filelist": ["text_12.list", "text_64.list", "text_128.list"], "valid_filelist": "text_128_valid.list",
  "steps": [$((FULL_STEPS / 6)), $((FULL_STEPS / 3)), $((FULL_STEPS - FULL_STEPS / 6 - FULL_STEPS / 3))]}
]}
EOF
    mv "$FULL/.tasks.new" "$FULL/tasks.json"
}

# full_shards LENGTH: of all text, and one list of them; held-out text in the longest instances.
full_shards() {
    build_shards news "$1" "$FULL/text/news.txt"
    build_shards other "$1" "$FULL/text/reviews.txt" "$FULL"/more/*.txt
    full_list "$1" "text_$1.list" news other
    [ "$1" = 128 ] || return 0
    build_shards news_valid 128 "$FULL/text/news_valid.txt"
    build_shards reviews_valid 128 "$FULL/text/reviews_valid.txt"
    full_list 128 text_128_valid.list news_valid reviews_valid
}

# full_list LENGTH LIST NAMES...: $FULL/LIST of several builds; paths count from the folder of the list.
full_list() {
    folder=shards_$1 list=$2
    shift 2
    for name in "$@"; do
        sed "s|^|$folder/$name/|" "$FULL/$folder/$name/filelist"
    done >"$FULL/.list.new"
    mv "$FULL/.list.new" "$FULL/$list"
}

# segmenter_of NAME: words are masked whole at the end, so those of all text are looked for.
segmenter_of() {
    case $1 in
    news*) echo pre-segmented ;;
    *) echo jieba ;;
    esac
}

# full_weights: the weights as they are passed on, in half precision; and what starts from them.
full_weights() {
    if [ ! -d "$FULL/weights" ]; then
        "$PYTHON_FOUND" -m ernie.convert --from params --to hf --half --ignore_unexpected "$FULL/model" "$FULL/weights"
    fi
    "$PYTHON_FOUND" "$ROOT/script/demo/encoder_card.py" --model "$FULL/model" --weights "$FULL/weights"
    cat <<EOF

$FULL/model is the encoder: MODEL_PATH for every recipe, and what sh script/demo/reviews.sh, entities.sh and cloze.sh start
from while it is there. $FULL/weights is the same in half precision ($(du -k "$FULL/weights" | cut -f 1 | tail -n 1) KB), to be passed on: there, put it
into output/zh_encoder/weights and run
    sh script/quickstart.sh --zh --model_only
EOF
}
