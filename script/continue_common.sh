# What script/en/continue.sh and script/zh_task/continue.sh share. POSIX sh; each names its language and goes on:
#
#     LANGUAGE=en SEGMENTER=${SEGMENTER:-english} RECIPE=${RECIPE:-script/en_glue/ernie_base/SST-2/task.sh}
#     . "$(dirname -- "$0")/../continue_common.sh"
#     continued "$@"
#
# shellcheck shell=sh
CONFIG= GPUS=1 FP16=false
. "$(dirname -- "$0")/../pretrain_common.sh"
: "${TEXT:=}" "${VALID_TEXT:=}" "${LENGTH:=64}" "${TOKENIZER:=FullTokenizer}" "${FINETUNE:=}"
WORK=$OUTPUT/continued/$LANGUAGE

continue_usage() {
    cat <<EOF
usage: MODEL_PATH=DIR TEXT=FILE TASK_DATA_PATH=DIR sh $0 [flags of train.py; they override the recipe's]

Builds shards of the text, masks whole words of it in $STEPS steps from the model's weights, and runs a fine-tuning recipe
from the result. Everything goes to $WORK; the same command goes on where it was interrupted. Leave out of the
text what you will measure on.

  MODEL_PATH      a model: params/, ernie_config.json and vocab.txt; or a Hugging Face directory
  TEXT            a file of text, or a pattern in quotes
  VALID_TEXT      held-out text, for a perplexity   (${VALID_TEXT:-none})
  TASK_DATA_PATH  the folder that holds the data of the fine-tuning recipe
  RECIPE          the fine-tuning recipe   ($RECIPE)
  FINETUNE        its flags, as in FINETUNE="--epoch 1 --batch_size 16"   (${FINETUNE:-none})
  STEPS, LENGTH   steps of pre-training, and tokens of an instance at most   ($STEPS, $LENGTH)
  SEGMENTER       where words come from, see docs/pretraining_data.md   ($SEGMENTER)
  TOKENIZER       of the model   ($TOKENIZER)
  OUTPUT          where the results go   ($OUTPUT)
  SEEDS, DEVICES  as in every recipe
  PYTHON          the Python that runs   (.venv's, else python3)
  DRY_RUN         1, or the flag --dry_run: print the commands instead of running them

EOF
}

# convert_model: sets MODEL_PATH to the conversion of a Hugging Face model, whose vocabulary the shards are made with.
convert_model() {
    is_foreign "$MODEL_PATH" || return 0
    set -- "$PYTHON_FOUND" -m ernie.convert --from hf --to params --init_pooler "$MODEL_PATH" "$WORK/start"
    MODEL_PATH=$WORK/start
    if [ "$DRY_RUN" = 1 ]; then quoted "$@"; else rm -rf "$MODEL_PATH" && "$@"; fi
}

# build_text PART FILES: shards of the text in $WORK/PART.
build_text() {
    # shellcheck disable=SC2086  # TEXT may be several files
    set -- "$PYTHON_FOUND" -m pretrain.build_data --input $2 --output "$WORK/$1" --vocab_path "$VOCAB" \
        --tokenizer "$TOKENIZER" --segmenter "$SEGMENTER" --max_seq_len "$LENGTH" --tasks whole_word_masking
    if [ "$DRY_RUN" = 1 ]; then quoted "$@"; else "$@"; fi
}

# write_tasks: $WORK/tasks.json, of whole-word masking alone.
write_tasks() {
    valid=
    [ -z "$VALID_TEXT" ] || valid=' "valid_filelist": "valid/whole_word_masking/filelist",'
    cat >"$WORK/.tasks.new" <<EOF
{"tasks": [{"name": "whole_word_masking", "task_id": 0, "filelist": "train/whole_word_masking/filelist",$valid
            "steps": [$STEPS]}]}
EOF
    mv "$WORK/.tasks.new" "$WORK/tasks.json"
}

# tell_scores: what the dev set came to, of every seed.
tell_scores() {
    name=$(printf '%s\n' "${RECIPE#script/}" | sed 's|/task\.sh$||; s|/run_\([^/]*\)\.sh$|/\1|')
    for log in "$WORK/$name"/seed_*/train.log; do
        printf '%s: %s\n' "${log#"$WORK/"}" "$(grep '\[dev evaluation\]' "$log" | tail -n 1)"
    done
}

# continued FLAGS...: shards, pre-training with the user's flags, fine-tuning, scores.
continued() {
    for word in "$@"; do
        case $word in
        --dry_run) DRY_RUN=1 ;;
        -h | --help)
            continue_usage
            exit
            ;;
        esac
    done
    check_facts
    for name in MODEL_PATH TEXT TASK_DATA_PATH; do
        eval "value=\$$name"
        [ -n "$value" ] || die 2 "$name is not set: sh $0 --help says what it takes"
    done
    [ -f "$ROOT/$RECIPE" ] || die 2 "RECIPE=$RECIPE: not in $ROOT; name one as script/en_glue/ernie_base/SST-2/task.sh"
    PYTHON_FOUND=$(project_python) || exit $?
    if [ "$DRY_RUN" != 1 ]; then
        check_flags "$PROGRAM" "$@"
        # shellcheck disable=SC2086  # FINETUNE is several words
        CHECK_ALONE=1 sh "$ROOT/$RECIPE" $FINETUNE || exit $?
    fi
    PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH} && export PYTHONPATH
    [ "$DRY_RUN" = 1 ] || mkdir -p "$WORK"
    convert_model
    VOCAB=$MODEL_PATH/vocab.txt CONFIG_PATH=$MODEL_PATH/ernie_config.json
    build_text train "$TEXT"
    [ -z "$VALID_TEXT" ] || build_text valid "$VALID_TEXT"
    [ "$DRY_RUN" = 1 ] || write_tasks
    train_only "$WORK/model" --init_pretraining_params "$MODEL_PATH/params" --task_list "$WORK/tasks.json" \
        --task_data "$WORK" --tokenizer "$TOKENIZER" --batch_size 2048 --in_tokens true --max_seq_len "$LENGTH" --learning_rate 1e-4 \
        --weight_decay 0.01 --warmup_steps $((STEPS / 10)) --validation_steps 0 --save_steps 200 --skip_steps 50 "$@"
    # shellcheck disable=SC2086  # FINETUNE is several words
    MODEL_PATH=$checkpoints OUTPUT=$WORK PYTHON=$PYTHON_FOUND DRY_RUN=$DRY_RUN sh "$ROOT/$RECIPE" $FINETUNE
    [ "$DRY_RUN" = 1 ] || tell_scores
}
