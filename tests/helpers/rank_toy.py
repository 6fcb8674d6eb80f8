"""A process for the launcher's tests: says who it is, then does what its first argument says.

python finetune_launch.py --nproc_per_node 2 tests/helpers/rank_toy.py ok FOLDER
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(what, folder):
    rank, folder = int(os.environ["PADDLE_TRAINER_ID"]), Path(folder)
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # as a tokenising worker is
    (folder / f"pids.{rank}").write_text(f"{os.getpid()} {helper.pid}")
    keys = ("PADDLE_TRAINERS_NUM", "PADDLE_DISTRI_BACKEND", "OMP_NUM_THREADS", "PADDLE_MASTER", "PADDLE_LOCAL_RANK")
    print(f"rank {rank}", *(os.environ.get(key) for key in keys), flush=True)
    if what == "parent":
        from propeller.train.distribution import _end_with_parent

        _end_with_parent()
    if what == "checkpoint":
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), print("written", flush=True), sys.exit(143)))
    (folder / f"ready.{rank}").touch()
    if what == "die" and rank == 1:
        print("last words", flush=True)
        os._exit(7)
    if what == "killed" and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "once" and not (folder / f"begun.{rank}").exists():
        (folder / f"begun.{rank}").touch()
        while rank == 1 and not (folder / "begun.0").exists():
            time.sleep(0.02)
        if rank == 1:
            os._exit(5)
        time.sleep(600)
    if what not in ("ok", "once"):
        time.sleep(600)
    helper.kill()
    helper.wait()
    print(f"rank {rank} done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
