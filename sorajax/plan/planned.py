"""What is known of a program after it was planned."""

import dataclasses

from sorajax.plan.chips import Chip
from sorajax.plan.estimate import Assumptions, Estimate
from sorajax.plan.program import Compiled
from sorajax.plan.work import Work


@dataclasses.dataclass(frozen=True)
class Plan:
  """A program, compiled and timed by rule.

  Attributes:
    name: of the config.
    where: the topology, such as v5p:4x4x8.
    chip: of the topology.
    chips: how many.
    work: what it is run for.
    compiled: the program.
    estimate: of its time.
    assume: by which that was estimated.
    price: of a chip for an hour; 0 where none was given.
  """

  name: str
  where: str
  chip: Chip
  chips: int
  work: Work
  compiled: Compiled
  estimate: Estimate
  assume: Assumptions
  price: float = 0.0

  @property
  def room(self) -> float:
    """The share of a device's memory that stays free."""
    return 1 - self.compiled.memory.peak / (self.chip.memory / self.chip.devices)

  @property
  def devices(self) -> int:
    return self.chips * self.chip.devices

  @property
  def mfu(self) -> float:
    """Model FLOPs utilisation: useful FLOPs by what the chip could do at most."""
    return self.work.useful() / (self.estimate.seconds * self.chip.flops * self.chips)

  def memory(self) -> list[tuple[str, float]]:
    m = self.compiled.memory
    return [*m.held.items(), (self.work.passing, m.temporary)]

  def times(self) -> list[tuple[str, float]]:
    e = self.estimate
    return [
      ('matmuls', e.matmuls), ('attention kernels', e.kernels), ('bound by memory', e.memory),
      ('communication, exposed', e.exposed),
      ('communication, beside the rest', max(0.0, e.hidden - e.computing)),
      *([('to the memory of the host and back', e.host)] if e.host else []),
    ]  # fmt: skip
