"""Recomputation: the backward pass computes the inside of each segment once more, so that it need not be kept.

with marked(model.segments(), main):                      # while the forward pass is built
    predictions = model(features)
...                                                       # the backward pass
recompute(main, startup, forward_ops)

Chen et al. 2016, arXiv 1604.06174. Paddle's own pass for static Programs copies the marked operators to where the
backward pass first needs them. Three things it needs besides: dropout must not draw anew, so what it gave is kept
(its input is not); operators must run in the Program's order, since nothing else keeps the copies from running at
once with the forward pass, which frees nothing; and what is added to the Program later must go to its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import paddle

KEPT = ("pd_op.dropout",)
SEGMENT, ROLE = "fwd_recompute_id", "op_role"
FORWARD, BACKWARD = 0, 1


@contextlib.contextmanager
def marked(segments: Iterable[paddle.nn.Layer], program: paddle.static.Program) -> Iterator[None]:
    """Mark the operators that each of the layers adds to the Program."""
    block, begins, handles = program.global_block(), [], []
    for number, layer in enumerate(segments):

        def enter(layer, inputs):
            begins.append(len(block.ops))

        def leave(layer, inputs, outputs, number=number):
            for op in block.ops[begins.pop() :]:
                op.set_int_attr(SEGMENT, number)

        handles += [layer.register_forward_pre_hook(enter), layer.register_forward_post_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def recompute(program: paddle.static.Program, startup: paddle.static.Program, forward_ops: int) -> None:
    """Change a Program with its backward pass so that what marked operators computed is computed again.

    Args:
        program: the Program, without an update yet; startup: its startup Program.
        forward_ops: how many operators it had before the backward pass.
    """
    from paddle.distributed.passes import PassContext, auto_parallel_recompute_pir, new_pass

    auto_parallel_recompute_pir.logger.setLevel("WARNING")
    block = program.global_block()
    for number, op in enumerate(block.ops):
        op.set_int_attr(ROLE, FORWARD if number < forward_ops else BACKWARD)
    change = new_pass("auto_parallel_recompute_pir", {"refined_ops_patterns": []})
    change.is_seed_used_by_dropout = lambda op: op.name() in KEPT  # the operators that it asks about are not copied
    change.apply([program], [startup], PassContext())
    paddle.pir.set_insertion_point_to_block_end(block)
    paddle.set_flags({"FLAGS_new_executor_serial_run": True})
