# What every fine-tuning recipe shares. POSIX sh; a recipe sources it, states its facts and calls `recipe`:
#
#     . "$(dirname -- "$0")/../../../common.sh"
#     GPUS=8 LAUNCH=multi-process FP16=false REPEATS=5
#     recipe run_classifier.py --batch_size 32 --epoch 4 ... --train_set "$TASK_DATA_PATH/SST-2/train.tsv" ... "$@"
#
# Facts:   GPUS how many the hyper-parameters were chosen for (--batch_size is for one of them); LAUNCH multi-process
#          (one process a GPU) or single; FP16 true or false; REPEATS how many seeds, 1..REPEATS.
# Flags:   the recipe's own, then the user's "$@", which therefore win. What this file adds is put before both.
# Paths:   nothing changes the working directory, so a relative path means what it means where the user stands.
# Multi-process recipes start one process a GPU, on as many as are there (at most GPUS), or DEVICES=cpu:N on N cores; where
# there are fewer than GPUS, the recipe's total batch is kept by accumulating gradients.
# shellcheck shell=sh
set -eu

HERE=$(cd -- "$(dirname -- "$0")" && pwd -P)
ROOT=${HERE%/script/*}
. "$ROOT/script/env.sh"
. "$ROOT/script/inputs.sh"

: "${MODEL_PATH:=}" "${TASK_DATA_PATH:=}" "${OUTPUT:=$ROOT/output}"
: "${DEVICES:=auto}" "${KEEP_BATCH:=1}" "${DRY_RUN:=0}"
PROCESSES=1 BACKEND= # see choose_devices

usage() {
    cat <<EOF
usage: MODEL_PATH=DIR TASK_DATA_PATH=DIR sh $0 [flags of $PROGRAM; they override the recipe's]

  MODEL_PATH      a model: params/, ernie_config.json and vocab.txt; or a Hugging Face directory
  TASK_DATA_PATH  the folder that holds this task's data
  OUTPUT          where the results go, as \$OUTPUT/$NAME/seed_<n>/   ($OUTPUT)
  SEEDS           the seeds to run, as in SEEDS=1 or SEEDS="1 2 3"   ($(seeds))
  DEVICES         auto, cpu, cpu:N for N processes on N cores, or GPU numbers as in DEVICES=0,1   ($DEVICES)
  KEEP_BATCH      0: do not make up for missing GPUs by accumulating gradients   ($KEEP_BATCH)
  USE_FP16        true or false: mixed precision   (${USE_FP16:-$FP16})
  PYTHON          the Python that runs   (.venv's, else python3)
  DRY_RUN         1, or the flag --dry_run: print the commands instead of running them

EOF
}

# recipe_name: en_glue/ernie_base/SST-2 for .../SST-2/task.sh, zh_task/ernie_base/bq for .../ernie_base/run_bq.sh
recipe_name() (
    folder=${HERE#"$ROOT"/script/}
    file=$(basename -- "$0" .sh)
    if [ "$file" = task ]; then printf '%s\n' "$folder"; else printf '%s\n' "$folder/${file#run_}"; fi
)

# quoted WORDS...: one line that a shell reads back as the same words.
quoted() (
    separator=
    for word in "$@"; do
        case $word in
        '' | *[!A-Za-z0-9_./:=,@%+-]*) word="'$(printf '%s\n' "$word" | sed "s/'/'\\\\''/g")'" ;;
        esac
        printf '%s%s' "$separator" "$word"
        separator=' '
    done
    echo
)

# check_paths FLAGS...: both variables at once, so that nobody is sent away twice.
check_paths() {
    missing=0
    if [ -z "$MODEL_PATH" ]; then
        missing=1
        say "error: MODEL_PATH is not set. Set it to a model's folder, with params/, ernie_config.json and vocab.txt:"
        say "    export MODEL_PATH=/path/to/ERNIE_Base_en_stable-2.0.0"
        say "  Released models, to be downloaded and unpacked:"
        say "    ERNIE 2.0 base, English    https://ernie.bj.bcebos.com/ERNIE_Base_en_stable-2.0.0.tar.gz"
        say "    ERNIE 2.0 large, English   https://ernie.bj.bcebos.com/ERNIE_Large_en_stable-2.0.0.tar.gz"
        say "    ERNIE 1.0 base, Chinese    https://baidu-nlp.bj.bcebos.com/ERNIE_stable-1.0.1.tar.gz"
        say "    the same, 512 positions    https://ernie.bj.bcebos.com/ERNIE_1.0_max-len-512.tar.gz"
        say "  To try everything on a small model without these: sh script/quickstart.sh"
    fi
    if [ -z "$TASK_DATA_PATH" ]; then
        missing=1
        # $TASK_DATA_PATH was empty when the recipe put it before these.
        files=$(last_value --train_set "$@" | sed 's|^/||; s|,/|, |g')
        files=${files:-the files of $(last_value --tasks "$@")}
        say "error: TASK_DATA_PATH is not set. Set it to the folder that holds the tasks' data, here with $files in it:"
        say "    export TASK_DATA_PATH=/path/to/data"
        say "  English tasks: GLUE (https://gluebenchmark.com/tasks), as sh script/en_glue/preprocess/cvt.sh converts it."
        say "  Chinese tasks: https://ernie.bj.bcebos.com/task_data_zh.tgz, or as script/zh_task/preprocess/cvt.sh makes them"
    fi
    [ "$missing" = 0 ] || exit 2
    # Flags with several files separate them by commas.
    case $TASK_DATA_PATH in
    *,*) die 2 "TASK_DATA_PATH=$TASK_DATA_PATH: a comma separates files here; rename the folder, or use a link without one" ;;
    esac
    case $OUTPUT in
    *,*) die 2 "OUTPUT=$OUTPUT: a comma separates files here; give a folder without one" ;;
    esac
    [ "$DRY_RUN" = 1 ] && return
    check_model "$@"
    check_data "$NAME" "$@"
}

# check_facts: a recipe that forgot one, or a variable set to something else than it takes, stops here.
check_facts() {
    case "$LAUNCH" in multi-process | single) ;; *) die 2 "LAUNCH=$LAUNCH in $0: it is multi-process or single" ;; esac
    case "$GPUS:$REPEATS" in
    *[!0-9:]* | :* | *: | 0:* | *:0) die 2 "GPUS=$GPUS REPEATS=$REPEATS in $0: whole numbers from 1" ;;
    esac
    case "$KEEP_BATCH" in 0 | 1) ;; *) die 2 "KEEP_BATCH=$KEEP_BATCH: it is 0 or 1" ;; esac
    case "${USE_FP16:-$FP16}" in true | false) ;; *) die 2 "USE_FP16=${USE_FP16:-$FP16}: it is true or false" ;; esac
    case "$(seeds)" in
    *[!0-9\ ]*) die 2 "SEEDS=$SEEDS: whole numbers with blanks between, as in SEEDS=\"1 2 3\"" ;;
    esac
    case "$DEVICES" in
    auto | cpu) ;;
    cpu:0* | cpu: | cpu:*[!0-9]*) die 2 "DEVICES=$DEVICES: cpu:N with a number of processes from 1, as in cpu:2" ;;
    cpu:*) ;;
    *[!0-9,]* | ,* | *, | *,,*) die 2 "DEVICES=$DEVICES: auto, cpu, cpu:N, or GPU numbers as in 0,1" ;;
    esac
}

seeds() (
    if [ -n "${SEEDS:-}" ]; then
        printf '%s\n' "$SEEDS"
        return
    fi
    list=1 seed=1
    while [ "$seed" -lt "$REPEATS" ]; do
        seed=$((seed + 1))
        list="$list $seed"
    done
    printf '%s\n' "$list"
)

# visible_gpus: how many GPUs a program started now would see.
visible_gpus() {
    case ${CUDA_VISIBLE_DEVICES-unset} in
    unset) (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU ' || true ;; # grep prints its 0 and fails
    '' | -1) echo 0 ;;
    *) printf '%s\n' "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c . ;;
    esac
}

# choose_devices: sets USE_CUDA, PROCESSES and BACKEND, and says what is left unused.
choose_devices() {
    case $DEVICES in
    auto) USE_CUDA=auto ;; # a GPU if this Paddle and this machine have one: Python decides
    cpu) USE_CUDA=false ;;
    cpu:*) USE_CUDA=false PROCESSES=${DEVICES#cpu:} BACKEND=gloo ;;
    *) USE_CUDA=true CUDA_VISIBLE_DEVICES=$DEVICES && export CUDA_VISIBLE_DEVICES ;;
    esac
    [ "$USE_CUDA" = false ] && return
    gpus=$(visible_gpus)
    if [ "$LAUNCH" = multi-process ] && [ "$gpus" -gt 1 ]; then
        PROCESSES=$gpus BACKEND=nccl
        [ "$PROCESSES" -le "$GPUS" ] || PROCESSES=$GPUS
        [ "$PROCESSES" -gt 1 ] || BACKEND=
        # Fewer, where only so divide the recipe's total batch evenly.
        while [ "$KEEP_BATCH" = 1 ] && [ $((GPUS % PROCESSES)) != 0 ]; do PROCESSES=$((PROCESSES - 1)); done
    fi
    [ "$gpus" -le "$PROCESSES" ] || say "$NAME: $gpus GPUs are visible, $PROCESSES used"
}

# keep_batch FLAGS...: sets ACCUMULATE, or BATCH for each of more processes than GPUs, so that the total batch stays what
# the recipe was tuned for, and says so.
keep_batch() {
    ACCUMULATE=1 BATCH=
    [ "$GPUS" != "$PROCESSES" ] || return 0
    batch=$(last_value --batch_size "$@") each=
    total="$((GPUS * batch)) ($GPUS GPUs x $batch)"
    [ "$PROCESSES" = 1 ] || each=" in each of $PROCESSES processes"
    if [ "$KEEP_BATCH" = 0 ]; then
        say "$NAME: KEEP_BATCH=0: the total batch is $((PROCESSES * batch)), not $total"
        return
    fi
    if [ "$PROCESSES" -gt "$GPUS" ]; then
        BATCH=$(((GPUS * batch + PROCESSES - 1) / PROCESSES)) how="batches of"
        [ $((BATCH * PROCESSES)) = $((GPUS * batch)) ] || total="near $total, at $((BATCH * PROCESSES))"
    else
        ACCUMULATE=$(((GPUS + PROCESSES - 1) / PROCESSES)) how="a step accumulates"
        [ $((GPUS % PROCESSES)) = 0 ] || total="near $total, at $((ACCUMULATE * PROCESSES * batch))"
        [ "$ACCUMULATE" = 1 ] || how="$how $ACCUMULATE batches of"
    fi
    [ -n "$(last_value --gradient_accumulation_steps "$@")" ] ||
        say "$NAME: the total batch stays $total: $how ${BATCH:-$batch}$each (KEEP_BATCH=0 turns this off)"
}

# test_saves TEST_SETS FOLDER: one prediction file for every file of a comma-separated list.
test_saves() (
    number=$(printf '%s\n' "$1" | tr ',' '\n' | grep -c .)
    list=$2/test_out.tsv i=1
    [ "$number" -gt 1 ] && list=$2/test_out_1.tsv
    while [ "$i" -lt "$number" ]; do
        i=$((i + 1))
        list=$list,$2/test_out_$i.tsv
    done
    printf '%s\n' "$list"
)

# run_seed SEED FLAGS...: one command, of one process or several; its exit status is the recipe's if it is not 0.
run_seed() {
    seed=$1 checkpoints=$OUTPUT/$NAME/seed_$1
    shift
    tests=$(last_value --test_set "$@") do_test=false
    # Put before the recipe's and the user's flags, so that those win; in reverse order of how they appear.
    if [ -n "$tests" ]; then
        set -- --test_save "$(test_saves "$tests" "$checkpoints")" "$@"
        do_test=true
    fi
    if [ -n "$(last_value --diagnostic "$@")" ]; then
        set -- --diagnostic_save "$checkpoints/diagnostic_out.tsv" "$@"
        do_test=true
    fi
    if is_foreign "$MODEL_PATH"; then
        set -- --model "$MODEL_PATH" "$@"
    else
        set -- --ernie_config_path "$MODEL_PATH/ernie_config.json" --vocab_path "$MODEL_PATH/vocab.txt" \
            --init_pretraining_params "$MODEL_PATH/params" "$@"
    fi
    set -- "$ROOT/$PROGRAM" ${TASK:+"$TASK"} --use_cuda "$USE_CUDA" --use_fp16 "${USE_FP16:-$FP16}" \
        --do_train true --do_val true --do_test "$do_test" \
        --lr_scheduler linear_warmup_decay --random_seed "$seed" --gradient_accumulation_steps "$ACCUMULATE" \
        --checkpoints "$checkpoints" --log_file "$checkpoints/train.log" "$@" \
        ${BATCH:+--batch_size "$BATCH"}
    if [ -n "$BACKEND" ]; then
        set -- "$ROOT/finetune_launch.py" --nproc_per_node "$PROCESSES" --backend "$BACKEND" --print_config false \
            --split_log_path "$checkpoints/log" "$@"
    fi
    set -- "$PYTHON_FOUND" "$@"
    if [ "$DRY_RUN" = 1 ]; then
        quoted ${OMP_NUM_THREADS:+"OMP_NUM_THREADS=$OMP_NUM_THREADS"} "$@"
        return
    fi
    say "$NAME: seed $seed (of $(seeds)), results in $(last_value --checkpoints "$@")"
    "$@" || stopped $? "$seed"
}

# stopped STATUS SEED: the first failure ends the recipe, with the program's own status.
stopped() {
    say "$NAME: seed $2 stopped with exit status $1; the seeds after it were not run"
    [ "$1" != 1 ] || "$PYTHON_FOUND" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("paddle") is None)' ||
        say "paddle is not installed for $PYTHON_FOUND: run sh script/quickstart.sh once, or set PYTHON"
    case $DEVICES in
    auto | cpu*) ;;
    *)
        # CUDA_VISIBLE_DEVICES is DEVICES by now.
        [ "$1" != 2 ] || [ "$(unset CUDA_VISIBLE_DEVICES && visible_gpus)" != 0 ] ||
            say "DEVICES=$DEVICES asks for GPUs, and nvidia-smi shows none: set DEVICES=auto, or DEVICES=cpu:2 for two processes"
        ;;
    esac
    exit "$1"
}

# next_step FLAGS...: where the results are, and the command that uses them.
next_step() {
    first=$(seeds)
    first=${first%% *}
    checkpoints=$(last_value --checkpoints --checkpoints "$OUTPUT/$NAME/seed_$first" "$@")
    new=$(last_value --train_set "$@")
    new=${new:-NEW.tsv} # several tasks have it in their list
    new=NEW.${new##*.} # .tsv, or .json for reading comprehension
    best=$checkpoints/best
    [ "$TASK" != multitask ] || best=$checkpoints/TASK/best
    case $PROGRAM in
    run_classifier.py) infer=infer_classifyer.py to=NEW_predictions.tsv ;;
    run_sequence_labeling.py) infer=infer_sequence_labeling.py to=NEW_predictions.tsv ;;
    run_mrc.py) infer=infer_mrc.py to=NEW_predictions ;;
    *) infer=finetune/prediction/__main__.py to=NEW_predictions.tsv ;;
    esac
    cat <<EOF

$NAME: done, seeds $(seeds), in $OUTPUT/$NAME/
  in the directory of each seed: the checkpoints best/ and last/, train.log, every figure (metrics.jsonl), curves.png
next, label new rows with the best checkpoint of seed $first ($new is like the test set; labels may be missing):
EOF
    printf '    %s\n' "$(quoted "$PYTHON_FOUND" "$ROOT/$infer" --model "$best" \
        --use_cuda "$USE_CUDA" --predict_set "$new" --output "$to")"
}

# recipe PROGRAM FLAGS...: checks, then one run per seed. `recipe finetune TASK FLAGS...` is python -m finetune TASK.
recipe() {
    PROGRAM=$1 TASK=
    shift
    if [ "$PROGRAM" = finetune ]; then
        PROGRAM=finetune/__main__.py TASK=$1
        shift
    fi
    NAME=$(recipe_name)
    PYTHON_FOUND=$(project_python) || exit $?
    check_facts
    for word in "$@"; do
        shift
        [ "$word" = --dry_run ] && DRY_RUN=1 || set -- "$@" "$word"
    done
    for word in "$@"; do
        case $word in
        -h | --help)
            usage
            "$PYTHON_FOUND" "$ROOT/$PROGRAM" ${TASK:+"$TASK"} --help
            exit
            ;;
        esac
    done
    check_paths "$@"
    if [ "${CHECK_ALONE:-0}" = 1 ]; then # by script/continue_common.sh, before hours of pre-training
        [ "$TASK" = multitask ] || check_flags "${TASK:-$PROGRAM}" "$@"
        exit
    fi
    case "$(seeds):$(last_value --checkpoints "$@")" in
    *' '*:?*) die 2 "--checkpoints would be one folder for several seeds: set SEEDS=1, or use OUTPUT=DIR" ;;
    esac
    choose_devices
    if [ -z "$BACKEND" ]; then # the launcher shares the cores out by itself
        # Paddle takes one thread unless told otherwise; nproc respects the cores this process may use.
        OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)}
        export OMP_NUM_THREADS
    fi
    keep_batch "$@"
    for seed in $(seeds); do
        run_seed "$seed" "$@"
    done
    [ "$DRY_RUN" = 1 ] || next_step "$@"
}
