"""The state of a training in a file, so that one that was interrupted goes on from its last whole epoch.

Everything that the steps to come depend on is kept: weights, the optimiser with its learning rate, and the generators
of random numbers. So the result is that of a training that nobody interrupted.
"""

from __future__ import annotations

import logging
import pickle
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ranksearch.files import whole_file

log = logging.getLogger(__name__)

SECONDS = 30.0
"""A training is kept at the end of an epoch if it has run for so long since it began, or was last kept."""

_BROKEN = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What a damaged file, or one of another version, may raise."""


@dataclass
class KeptTraining:
    """Where one training is kept. key: what its result depends on; a state of anything else does not count."""

    path: Path
    key: str
    _since: float = field(default_factory=time.monotonic)

    def restore(self, put_back: Callable[[dict[str, Any]], int]) -> int:
        """The steps that were done when the state was kept, which `put_back` restores and returns; 0 without one.

        The file is data: nothing in it is run.
        """
        if not self.path.is_file():
            return 0
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["key"] != self.key:
                return 0
            return put_back(state)
        except _BROKEN as error:
            log.warning("%s cannot be read (%s): the training begins anew.", self.path, type(error).__name__)
            return 0

    def keep(self, state: Callable[[], dict[str, Any]]) -> None:
        """Write the state, if that is worth it by now."""
        if time.monotonic() - self._since < SECONDS:
            return
        with whole_file(self.path) as temporary:
            torch.save({"key": self.key, **state()}, temporary)
        self._since = time.monotonic()


def generators(device: torch.device) -> dict[str, Any]:
    """The states of the global generators."""
    of_numpy: dict[str, Any] = np.random.get_state(legacy=False)
    state = of_numpy["state"]
    found: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": {**of_numpy, "state": {**state, "key": torch.from_numpy(state["key"].astype(np.int64))}},
    }
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_generators(states: dict[str, Any], device: torch.device) -> None:
    """Set the global generators to these states."""
    of_numpy = states["numpy"]
    state = of_numpy["state"]
    np.random.set_state({**of_numpy, "state": {**state, "key": state["key"].numpy().astype(np.uint32)}})
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
