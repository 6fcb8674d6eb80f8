#!/bin/sh
# ChnSentiCorp: a bag of words learns from ERNIE, whose logits of the unlabelled rows are computed first.
# In 2019 the teacher's best class alone was kept: give --soft_weight 0 --hard_weight 1 for that.
#     MODEL_PATH=DIR TASK_DATA_PATH=DIR sh distill/script/distill_chnsenticorp.sh [flags of python -m finetune student]
. "$(dirname -- "$0")/common.sh"
begin "$@"
prepare_data
train_teacher
run "$python" -m distill.label "$work/bundle/best_inference_model" "$work/unlabelled.tsv" --use_cuda "$USE_CUDA"
train_student --unlabelled_set "$work/unlabelled.tsv" "$@"
