# What the recipes of distillation share; a recipe sources it and calls its steps. POSIX sh.
#
#     . "$(dirname -- "$0")/common.sh"
#     begin "$@"; prepare_data; train_teacher; ...; train_student "$@"
#
# A step that is done is not done again: commands continue what was interrupted.
# shellcheck shell=sh
set -eu

HERE=$(cd -- "$(dirname -- "$0")" && pwd -P)
ROOT=${HERE%/distill/script}
. "$ROOT/script/env.sh"
. "$ROOT/script/inputs.sh"

: "${MODEL_PATH:=}" "${TASK_DATA_PATH:=}" "${OUTPUT:=$ROOT/output}" "${DRY_RUN:=0}"
: "${STUDENT:=bow}" "${USE_CUDA:=auto}" "${SEED:=1}" "${SEGMENTER:=jieba}"

usage() {
    cat <<EOF
usage: MODEL_PATH=DIR TASK_DATA_PATH=DIR sh $0 [flags of python -m finetune student; they override the recipe's]

  MODEL_PATH      the model that the teacher starts from: params/, ernie_config.json and vocab.txt; or a Hugging Face
                  directory
  TASK_DATA_PATH  the folder that holds distill/chnsenticorp/ as in 2019, or chnsenticorp/{train,dev}.tsv
  OUTPUT          where the results go, as \$OUTPUT/distill/$NAME/   ($OUTPUT)
  STUDENT         bow, cnn or bilstm   ($STUDENT)
  SEED            of the student   ($SEED)
  SEGMENTER       what cuts text for augmentation and vocabulary, where the data bring neither   ($SEGMENTER)
  PORT            of the teacher's server   (8113)
  USE_CUDA        true, false or auto   ($USE_CUDA)
  PYTHON          the Python that runs   (.venv's, else python3)
  DRY_RUN         1: print the commands instead of running them

EOF
}

# run COMMAND...: runs it, or prints it.
run() {
    if [ "$DRY_RUN" = 1 ]; then
        printf '%s\n' "$*"
    else
        "$@"
    fi
}

# begin FLAGS...: help, the two paths, and the names of what is made.
begin() {
    NAME=$(basename -- "$0" .sh)
    for word in "$@"; do
        case $word in -h | --help)
            usage
            exit
            ;;
        esac
    done
    python=$(project_python) || exit $?
    [ -n "$MODEL_PATH" ] || die 2 "MODEL_PATH is not set: name a model's folder, with params/, ernie_config.json and vocab.txt"
    [ -n "$TASK_DATA_PATH" ] ||
        die 2 "TASK_DATA_PATH is not set: name the folder that holds distill/chnsenticorp/, or chnsenticorp/{train,dev}.tsv"
    case $STUDENT in bow | cnn | bilstm) ;; *) die 2 "STUDENT=$STUDENT: it is bow, cnn or bilstm" ;; esac
    if [ "$DRY_RUN" != 1 ]; then # what is wrong is said before the hours of the teacher
        is_model "$MODEL_PATH" || no_model "params/, ernie_config.json and vocab.txt"
        PYTHON_FOUND=$python check_flags student "$@"
    fi
    data=$TASK_DATA_PATH/distill/chnsenticorp
    [ -d "$data" ] || data=$TASK_DATA_PATH/chnsenticorp
    work=$OUTPUT/distill/chnsenticorp # both recipes share data and teacher
    results=$OUTPUT/distill/$NAME
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)}
    export OMP_NUM_THREADS
    cd "$ROOT" # python -m finds the packages here
}

# prepare_data: the five files; unlabelled text and a vocabulary are made where the data bring none.
prepare_data() {
    run "$python" distill/script/layout.py "$data" "$work"
    [ -f "$work/unlabelled.tsv" ] ||
        run "$python" -m distill.augment "$work/train.tsv" "$work/unlabelled.tsv" --copies 10 --segmenter "$SEGMENTER"
    [ -f "$work/vocab.txt" ] ||
        run "$python" -m distill.vocab --output "$work/vocab.txt" --segmenter "$SEGMENTER" "$work/train.tsv"
}

# train_teacher: 2019's hyper-parameters, and the inference model of the best checkpoint.
train_teacher() {
    if is_foreign "$MODEL_PATH"; then
        set -- --model "$MODEL_PATH"
    else
        set -- --ernie_config_path "$MODEL_PATH/ernie_config.json" --vocab_path "$MODEL_PATH/vocab.txt" \
            --init_pretraining_params "$MODEL_PATH/params"
    fi
    run "$python" -m finetune classify --use_cuda "$USE_CUDA" "$@" \
        --train_set "$work/teacher_train.tsv" --dev_set "$work/teacher_dev.tsv" --do_test false \
        --batch_size 32 --epoch "${TEACHER_EPOCHS:-10}" --learning_rate 5e-5 --warmup_proportion 0.1 --weight_decay 0.01 \
        --max_seq_len 128 --validation_steps 100 --save_steps 100 --keep_checkpoints 1 --checkpoints "$work/teacher"
    [ -d "$work/bundle" ] || run "$python" -m finetune.prediction --use_cuda "$USE_CUDA" --do_prediction false \
        --init_checkpoint "$work/teacher/best" --save_inference_model_path "$work/bundle"
}

# train_student FLAGS...: 2019's hyper-parameters: 9,600 steps, every second one on the teacher's rows.
train_student() {
    run "$python" -m finetune student --use_cuda "$USE_CUDA" \
        --ernie_config_path "config/student/$STUDENT.json" --vocab_path "$work/vocab.txt" --tokenizer WholeWordTokenizer \
        --train_set "$work/train.tsv" --dev_set "$work/dev.tsv" --do_test false --random_seed "$SEED" \
        --batch_size 100 --epoch 50 --learning_rate 1e-4 --warmup_proportion 0.1 --weight_decay 0.0 --head_dropout 0.0 \
        --max_seq_len 128 --validation_steps 100 --save_steps 1000 --checkpoints "$results/$STUDENT/seed_$SEED" "$@"
    [ "$DRY_RUN" = 1 ] || cat <<EOF

$NAME: the student is in $results/$STUDENT/seed_$SEED/best; next, label new rows with it:
    $python -m finetune.prediction --model $results/$STUDENT/seed_$SEED/best --predict_set NEW.tsv --output NEW_predictions.tsv
EOF
}
