# What a recipe is given: the model and the data. A recipe's user who names another folder is told which one is meant.
# POSIX sh; sourced after script/env.sh.
#
#     check_model FLAGS...            # MODEL_PATH
#     check_data NAME FLAGS...        # TASK_DATA_PATH; NAME as recipe_name has it: en_glue/ernie_base/SST-2
#
# shellcheck shell=sh

# last_value --FLAG ARGUMENTS...: the value that wins, as argparse will see it; nothing when the flag is not there.
last_value() (
    flag=$1
    shift
    value=
    while [ $# -gt 0 ]; do
        case $1 in
        "$flag") value=${2:-} ;;
        "$flag="*) value=${1#*=} ;;
        esac
        shift
    done
    printf '%s\n' "$value"
)

# is_model DIR: whether it is a folder that MODEL_PATH may name.
is_model() {
    is_foreign "$1" || { [ -d "$1/params" ] && [ -f "$1/ernie_config.json" ] && [ -f "$1/vocab.txt" ]; }
}

# the_model_near DIR: the folder above or the one folder below that is a model; nothing when there is none, or several.
the_model_near() (
    if is_model "$(dirname -- "$1")"; then
        dirname -- "$1"
        exit
    fi
    found=
    for folder in "$1"/*/; do
        is_model "${folder%/}" || continue
        [ -z "$found" ] || exit 0
        found=${folder%/}
    done
    [ -z "$found" ] || printf '%s\n' "$found"
)

# no_model WHAT: the end, since MODEL_PATH lacks that.
no_model() {
    [ -d "$MODEL_PATH" ] || die 2 "MODEL_PATH=$MODEL_PATH is not a folder: name the one that holds params/, or a Hugging Face model"
    near=$(the_model_near "$MODEL_PATH")
    [ -z "$near" ] || die 2 "MODEL_PATH=$MODEL_PATH has no $1: did you mean MODEL_PATH=$near?"
    die 2 "MODEL_PATH=$MODEL_PATH has no $1 (there: $(contents "$MODEL_PATH")): name a model's folder, with params/," \
        "ernie_config.json and vocab.txt, or a Hugging Face directory"
}

# check_model FLAGS...: whether MODEL_PATH has all that the flags do not name.
check_model() {
    if is_model "$MODEL_PATH" || [ -n "$(last_value --model "$@")" ]; then return 0; fi
    [ -d "$MODEL_PATH" ] || no_model params/
    lacks=
    for part in "params:--init_pretraining_params" "ernie_config.json:--ernie_config_path" "vocab.txt:--vocab_path"; do
        [ -e "$MODEL_PATH/${part%%:*}" ] || [ -n "$(last_value "${part#*:}" "$@")" ] ||
            lacks="$lacks${lacks:+, }${part%%:*}"
    done
    [ -n "$lacks" ] || return 0
    [ -z "$(the_model_near "$MODEL_PATH")" ] || no_model "$lacks"
    [ ! -f "$MODEL_PATH/checkpoint.json" ] ||
        die 2 "MODEL_PATH=$MODEL_PATH is a checkpoint: name the model that it was trained from, and give" \
            "--init_checkpoint $MODEL_PATH behind the recipe to train it further"
    case "$lacks" in params*) no_model "$lacks" ;; esac
    # As ERNIE_stable.tgz, which holds weights alone.
    die 2 "MODEL_PATH=$MODEL_PATH has no $lacks: give --ernie_config_path FILE and --vocab_path FILE behind the recipe," \
        "or take a model that brings them, such as ERNIE_stable-1.0.1.tar.gz"
}

# said_no FLAG FLAGS...: whether a switch of the program is turned off.
said_no() {
    case "$(last_value "$@")" in
    [Ff]* | [Nn]* | 0) return 0 ;;
    esac
    return 1
}

# files_of FLAGS...: the files below TASK_DATA_PATH that the program will read, one a line.
files_of() (
    for pair in --train_set:--do_train --dev_set:--do_val --test_set:--do_test --diagnostic:--do_test --label_map_config:; do
        [ -z "${pair#*:}" ] || ! said_no "${pair#*:}" "$@" || continue
        last_value "${pair%%:*}" "$@" | tr ',' '\n' | while IFS= read -r file; do
            case $file in "$TASK_DATA_PATH"/?*) printf '%s\n' "$file" ;; esac
        done
    done
)

# letters NAME: a name without what two spellings of it differ in.
letters() { printf '%s\n' "$1" | tr 'A-Z' 'a-z' | tr -d '_-'; }

# the_folder_like NAME: the folder in TASK_DATA_PATH whose name is nearly this, as in the README of 2019: msra-ner, drc.
the_folder_like() (
    wanted=$(letters "$1")
    for folder in "$TASK_DATA_PATH"/*/; do
        there=$(basename -- "$folder")
        case $wanted in "$(letters "$there")" | "$(letters "$there")"?)
            printf '%s\n' "$there"
            exit
            ;;
        esac
    done
)

# contents DIR: the names in it, some of them.
contents() (
    names=$(ls -- "$1" | head -n 12 | tr '\n' ' ')
    printf '%s\n' "${names:-nothing }" | sed 's/ $//; s/ /, /g'
)

# check_data NAME FLAGS...: whether the data are there, and are not the owners' own files, which have to be converted.
check_data() {
    [ -d "$TASK_DATA_PATH" ] ||
        die 2 "TASK_DATA_PATH=$TASK_DATA_PATH is not a folder: name the one that holds the data of the tasks"
    converter="sh $ROOT/script/${1%%/*}/preprocess/cvt.sh $TASK_DATA_PATH OUT_DIR"
    shift
    absent=$(files_of "$@" | while IFS= read -r file; do [ -e "$file" ] || printf '%s\n' "$file"; done | head -n 1)
    [ -z "$absent" ] || tell_absent "$absent"
    train=$(last_value --train_set "$@")
    train=${train%%,*}
    case $train in "$TASK_DATA_PATH"/*.tsv) ;; *) return 0 ;; esac
    [ -z "$(last_value --text_column "$@")$(last_value --format "$@")" ] || return 0
    said_no --do_train "$@" || head -n 1 -- "$train" | grep -q text_a ||
        die 2 "$train, line 1: no column text_a; if these are the files as their owner distributes them, convert them" \
            "($converter) and set TASK_DATA_PATH to OUT_DIR; otherwise add a header, or name the column (--text_column)"
}

# tell_absent FILE: the end, with what is there instead.
tell_absent() {
    file=${1#"$TASK_DATA_PATH"/}
    for folder in "$TASK_DATA_PATH"/*/; do
        [ ! -e "$folder$file" ] ||
            die 2 "$1 is not there, but $folder$file is: set TASK_DATA_PATH=${folder%/}"
    done
    [ ! -e "$TASK_DATA_PATH/${file#*/}" ] || [ "$(basename -- "$TASK_DATA_PATH")" != "${file%%/*}" ] ||
        die 2 "$1 is not there: set TASK_DATA_PATH to the folder above, $(dirname -- "$TASK_DATA_PATH")"
    task=${file%%/*}
    if [ -d "$TASK_DATA_PATH/$task" ]; then
        die 2 "$1 is not there ($TASK_DATA_PATH/$task has $(contents "$TASK_DATA_PATH/$task")): add it;" \
            "docs/recipes.md says where the data come from"
    fi
    like=$(the_folder_like "$task")
    [ -z "$like" ] || die 2 "$1 is not there, but there is $TASK_DATA_PATH/$like: rename it to $task"
    die 2 "$1 is not there: TASK_DATA_PATH has no folder $task (there: $(contents "$TASK_DATA_PATH"));" \
        "docs/recipes.md says where the data come from"
}
