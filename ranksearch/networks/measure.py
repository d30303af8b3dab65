"""What a model costs, measured on one example."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ranksearch.costs import Cost
from ranksearch.networks.running import attention_fast_path, eval_mode, first_example, run_once


def measure_cost(model: nn.Module, example: Tensor) -> Cost:
    """Cost of a model as torch counts it: `numel` of distinct parameters, `FlopCounterMode` in eval mode.

    `example` is a batch (N, …), of which the first is run. The fused attention kernels, which the counter
    does not know, are off.
    """
    with eval_mode(model), attention_fast_path(False), FlopCounterMode(display=False) as counter:
        run_once(model, first_example(model, example))
    return Cost(sum(p.numel() for p in model.parameters()), int(counter.get_total_flops()))
