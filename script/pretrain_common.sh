# What the pre-training recipes share. POSIX sh; a recipe states its facts, sources this file and goes on:
#
#     LANGUAGE=zh CONFIG=ernie_config_zh_base_1.0.json GPUS=8 FP16=false
#     . "$(dirname -- "$0")/../pretrain_common.sh"
#     own_shards "$@" || demonstrate "$@"                  # does not return
#     pretrain --batch_size 8192 --in_tokens true ... "$@"
#
# With --train_filelist FILE (python -m pretrain.build_data makes one) that is trained on, with the flags of the recipe.
# Without, a demonstration: text from the package registry becomes a vocabulary, shards and a small model, under
# output/pretrain_demo/LANGUAGE, and the flags are those of `demonstrate`. The user's flags win in both.
# shellcheck shell=sh
. "$(dirname -- "$0")/../common.sh"
LAUNCH=multi-process REPEATS=1 PROGRAM=train.py NAME=$(recipe_name)
: "${STEPS:=300}"
[ "$LANGUAGE" != zh ] || : "${REVIEWS:=4}" # a part, since names in them are slow to find
: "${REVIEWS:=1}"
DEMO=$OUTPUT/pretrain_demo/$LANGUAGE

pretrain_usage() {
    cat <<EOF
usage: sh $0 [flags of train.py, which win over the recipe's]
       sh $0 --train_filelist FILE [--valid_filelist FILE] [flags]    on your own shards

Without --train_filelist it makes a small corpus from the package registry and pre-trains a small model on it, a few
minutes on two cores, under $DEMO.

  MODEL_PATH  a folder with vocab.txt and ernie_config.json for your own shards (config: $CONFIG unless it has one);
              the demonstration takes its vocab.txt alone
  OUTPUT      where the results go   ($OUTPUT)
  DEVICES     auto, cpu, cpu:N for N processes on N cores, or GPU numbers as in DEVICES=0,1   ($DEVICES)
  KEEP_BATCH  0: do not make up for missing GPUs by accumulating gradients   ($KEEP_BATCH)
  USE_FP16    true or false: mixed precision   (${USE_FP16:-$FP16})
  STEPS       steps of the demonstration   ($STEPS)
  REVIEWS     the demonstration reads one review in so many; 1: all   ($REVIEWS)
  PYTHON      the Python that runs   (.venv's, which the demonstration makes)
  DRY_RUN     1, or the flag --dry_run: print the command of the training instead of running anything

EOF
}

# demo_text: $DEMO/text, a part of its reviews as $DEMO/reviews.txt, and a vocabulary; what is there already stays.
demo_text() {
    PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} && export PYTHONPATH
    text=$DEMO/text
    program=pretrain_corpus.py
    [ "$LANGUAGE" = zh ] || program=pretrain_corpus_$LANGUAGE.py
    "$PYTHON_FOUND" "$ROOT/script/demo/$program" --out "$text" --cache "$OUTPUT/quickstart/downloads"
    # awk's RS= reads a document at a time.
    awk -v RS= -v every="$REVIEWS" 'NR % every == 0 { print $0 "\n" }' "$text/reviews.txt" >"$DEMO/reviews.txt"
    if [ ! -f "$VOCAB" ]; then
        sed 's|/[A-Za-z]\{1,8\}  *| |g; s|/[A-Za-z]\{1,8\}$||' "$text/news.txt" >"$DEMO/news.txt" # without tags
        "$PYTHON_FOUND" -m pretrain.build_vocab --input "$DEMO/news.txt" "$DEMO/reviews.txt" --size 8000 \
            --output "$VOCAB"
        rm "$DEMO/news.txt"
    fi
}

# demo_data: shards of the text, and lists of them.
demo_data() {
    demo_text
    build_shards news "$text/news.txt" && build_shards reviews "$DEMO/reviews.txt"
    build_shards news_valid "$text/news_valid.txt" && build_shards reviews_valid "$text/reviews_valid.txt"
    # Paths count from the folder of the list.
    for part in '' _valid; do
        for name in "news$part" "reviews$part"; do sed "s|^|$name/|" "$DEMO/$name/filelist"; done >"$DEMO/.list.new"
        mv "$DEMO/.list.new" "$DEMO/text$part.list"
    done
}

# build_shards NAME FILE: $DEMO/NAME, whose words come from where segmenter_of says.
build_shards() {
    "$PYTHON_FOUND" -m pretrain.build_data --input "$2" --output "$DEMO/$1" --vocab_path "$VOCAB" \
        --segmenter "$(segmenter_of "$1")" --max_seq_len 64 --mask_word_prob 1
}

# segmenter_of NAME: where words and names of this part of the text come from.
segmenter_of() {
    case $LANGUAGE:$1 in
    zh:news*) echo pre-segmented ;;
    zh:*) echo lac ;;
    *) echo english ;;
    esac
}

# own_shards FLAGS...: whether the user gives shards.
own_shards() { given --train_filelist "$@"; }

# given FLAG FLAGS...: whether the user gives it; help ends here.
given() {
    wanted=$1
    shift
    check_facts
    for word in "$@"; do
        case $word in
        --dry_run) DRY_RUN=1 ;;
        -h | --help)
            pretrain_usage
            exec "$(project_python)" "$ROOT/$PROGRAM" --help
            ;;
        esac
    done
    [ -n "$(last_value "$wanted" "$@")" ]
}

# demo_start PREFIX: Python with what the demonstration needs, VOCAB, CONFIG_PATH of the small model
# PREFIX_LANGUAGE.json, with as many embeddings as MODEL_PATH's vocabulary has pieces if that is larger.
demo_start() {
    if [ "$DRY_RUN" != 1 ] && [ -z "${PYTHON:-}" ]; then
        make_venv
        install_requirements requirements.txt
        install_requirements requirements-pretrain.txt
    fi
    PYTHON_FOUND=$(project_python) || exit $?
    VOCAB=$DEMO/vocab.txt CONFIG_PATH=$ROOT/config/$1_$LANGUAGE.json GPUS=1
    [ -n "$MODEL_PATH" ] && [ -f "$MODEL_PATH/vocab.txt" ] || return 0
    VOCAB=$MODEL_PATH/vocab.txt pieces=$(grep -c '' "$MODEL_PATH/vocab.txt")
    [ "$pieces" -gt "$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' "$CONFIG_PATH")" ] || return 0
    larger=$DEMO/$1_$pieces.json
    if [ "$DRY_RUN" != 1 ]; then
        mkdir -p "$DEMO"
        sed "s/\"vocab_size\": *[0-9]*/\"vocab_size\": $pieces/" "$CONFIG_PATH" >"$larger.new"
        mv "$larger.new" "$larger"
    fi
    CONFIG_PATH=$larger
}

# demonstrate FLAGS...: the small model on the text of the package registry, with the user's flags; then the end.
demonstrate() {
    demo_start ernie_mini
    [ "$DRY_RUN" = 1 ] || demo_data
    # A shard is news or reviews: all of them are shuffled together.
    train_and_tell "$DEMO/model" --train_filelist "$DEMO/text.list" --valid_filelist "$DEMO/text_valid.list" \
        --batch_size 2048 --in_tokens true --max_seq_len 64 --learning_rate 1e-3 --weight_decay 0.01 \
        --num_train_steps "$STEPS" --warmup_steps $((STEPS / 10)) --validation_steps $(((STEPS + 2) / 3)) \
        --save_steps 100 --skip_steps 10 --mask_units entity --shuffle_buffer 100000 "$@"
    exit
}

# pretrain FLAGS...: on the user's shards, with the recipe's flags and the user's.
pretrain() {
    PYTHON_FOUND=$(project_python) || exit $?
    VOCAB=$(last_value --vocab_path "$@") CONFIG_PATH=
    # Never the demonstration's: its vocabulary would give the ids of these shards other words.
    [ -n "$MODEL_PATH$VOCAB" ] ||
        die 2 "MODEL_PATH is not set: set it to a folder with the vocab.txt that the shards were made with," \
            "or give --vocab_path"
    VOCAB=${VOCAB:-$MODEL_PATH/vocab.txt}
    [ -f "$VOCAB" ] || [ "$DRY_RUN" = 1 ] ||
        die 2 "$VOCAB is not there: set MODEL_PATH to a folder with the vocab.txt that the shards were made with," \
            "or give --vocab_path"
    [ -z "$MODEL_PATH" ] || CONFIG_PATH=$MODEL_PATH/ernie_config.json
    [ -f "$CONFIG_PATH" ] || CONFIG_PATH=$ROOT/config/$CONFIG
    train_and_tell "$OUTPUT/$NAME" "$@"
}

# train_and_tell CHECKPOINTS FLAGS...: the run, and what to do next.
train_and_tell() {
    checkpoints=$(last_value --checkpoints --checkpoints "$@")
    shift
    for word in "$@"; do
        shift
        [ "$word" = --dry_run ] || set -- "$@" "$word"
    done
    choose_devices
    if [ -z "$BACKEND" ]; then # the launcher shares the cores out by itself
        OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)}
        export OMP_NUM_THREADS
    fi
    keep_batch "$@"
    set -- "$ROOT/$PROGRAM" --use_cuda "$USE_CUDA" --use_fp16 "${USE_FP16:-$FP16}" --ernie_config_path "$CONFIG_PATH" \
        --vocab_path "$VOCAB" --gradient_accumulation_steps "$ACCUMULATE" --checkpoints "$checkpoints" \
        --log_file "$checkpoints/train.log" "$@" ${BATCH:+--batch_size "$BATCH"}
    if [ -n "$BACKEND" ]; then
        set -- "$ROOT/finetune_launch.py" --nproc_per_node "$PROCESSES" --backend "$BACKEND" --print_config false \
            --split_log_path "$checkpoints/log" "$@"
    fi
    if [ "$DRY_RUN" = 1 ]; then
        quoted ${OMP_NUM_THREADS:+"OMP_NUM_THREADS=$OMP_NUM_THREADS"} "$PYTHON_FOUND" "$@"
        return
    fi
    say "$NAME: training, results in $checkpoints; the same command continues an interrupted run"
    "$PYTHON_FOUND" "$@"
    cat <<EOF

$NAME: done. $checkpoints is a model: params/, ernie_config.json, vocab.txt; train.log and curves.png show how it went
next, let it fill masks, or fine-tune it:
    $(quoted "$PYTHON_FOUND" "$ROOT/train.py" --ernie_config_path "$checkpoints/ernie_config.json" \
        --vocab_path "$checkpoints/vocab.txt" --max_seq_len 64 --use_cuda "$USE_CUDA" \
        --init_checkpoint "$checkpoints/last" --predict_mask "$EXAMPLE") 2>/dev/null
    MODEL_PATH=$checkpoints TASK_DATA_PATH=DIR sh $ROOT/$TASK
EOF
}
