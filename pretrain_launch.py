"""Start pre-training in several processes, a GPU or a core each, on one machine or many; as finetune_launch.py.

    python pretrain_launch.py --nproc_per_node 8 --selected_gpus 0,1,2,3,4,5,6,7 train.py --batch_size 8192 ...
    python pretrain_launch.py --nproc_per_node 2 train.py --use_cuda false ...         # two cores

`--batch_size` is that of one process. Rank 0's log is shown, all are in `log/job.log.N`.
"""

import sys

from propeller.errors import exit_on_user_error

if __name__ == "__main__":
    from propeller.launch import main

    exit_on_user_error(main, "pretrain_launch.py", sys.argv[1:])
