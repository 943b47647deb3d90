"""What a program holds on one device."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes of one device.

  Attributes:
    held: what is held from beginning to end: its name → bytes.
    peak: the most that are in use at once, all of the above among them.
    offloaded: what comes and goes in the memory of the host instead.
  """

  held: Mapping[str, float]
  peak: float
  offloaded: float = 0.0

  @property
  def temporary(self) -> float:
    """Activations, gradients and whatever else comes and goes."""
    return self.peak - sum(self.held.values())
