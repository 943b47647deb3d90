"""From what a program does to how long it takes: a roofline, with its assumptions spelled out.

No chip was asked. Each operation takes the longer of its matmuls and of its traffic to memory;
communication between devices that the compiler overlaps with computation takes what is left of it;
all other is added, and so is what goes to the memory of hosts and back.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Protocol

from sorajax.plan.chips import Chip
from sorajax.plan.hlo import Collective, Work


@dataclasses.dataclass(frozen=True)
class Assumptions:
  """Shares of what chips could do at most that programs come to.

  Attributes:
    matmuls: while they compute.
    kernels: of attention kernels, whose softmax takes turns with their matmuls.
    memory: of the speed of memory.
    links: of the speed of links.
    start_s: what each collective costs beside.
    host: bytes a second between a chip and the memory of its host.
  """

  matmuls: float = 0.8
  kernels: float = 0.55
  memory: float = 0.8
  links: float = 0.8
  start_s: float = 5e-6
  host: float = 16e9


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Seconds of one run of a program.

  Attributes:
    matmuls: of operations bound by them.
    kernels: in attention kernels.
    memory: bound by memory.
    hidden: communication that goes on beside.
    exposed: communication that everything waits for.
    flops: of matmuls and kernels on one device, as the program has them.
    by_collective: (kind, axes, whether overlapped) → bytes a device makes and seconds.
    host: to the memory of the host and back.
  """

  matmuls: float
  kernels: float
  memory: float
  hidden: float
  exposed: float
  flops: float
  by_collective: Mapping[tuple[str, tuple[str, ...], bool], tuple[float, float]]
  host: float = 0.0

  @property
  def computing(self) -> float:
    return self.matmuls + self.kernels + self.memory

  @property
  def seconds(self) -> float:
    return max(self.computing, self.hidden) + self.exposed + self.host


class Does(Protocol):
  """A program, read or by formula."""

  def work(self) -> Iterable[Work]: ...
  def collectives(self) -> Iterable[Collective]: ...


def estimate(
  program: Does, chip: Chip, sides: tuple[int, ...], assume: Assumptions = Assumptions()
) -> Estimate:
  """How long a program takes on one device of a chip, in slices of these sides."""
  spent = {'matmuls': 0.0, 'kernels': 0.0, 'memory': 0.0}
  flops, host_s = 0.0, 0.0
  for work in program.work():
    host_s += work.times * work.host_bytes / (assume.host / chip.devices)
    bound, seconds = _of_work(work, chip, assume)
    spent[bound] += seconds * work.times
    flops += (work.flops + work.kernel_flops) * work.times
  communication = {False: 0.0, True: 0.0}
  by: dict[tuple[str, tuple[str, ...], bool], tuple[float, float]] = {}
  for one in program.collectives():
    speed = chip.speed(one.members, sides) * assume.links
    seconds = one.times * (one.sent / speed + assume.start_s)
    communication[one.overlapped] += seconds
    key = (one.kind, one.axes, one.overlapped)
    bytes_, before = by.get(key, (0.0, 0.0))
    by[key] = (bytes_ + one.bytes * one.times, before + seconds)
  return Estimate(
    **spent,
    hidden=communication[True],
    exposed=communication[False],
    flops=flops,
    by_collective=by,
    host=host_s,
  )


def _of_work(work: Work, chip: Chip, assume: Assumptions) -> tuple[str, float]:
  share = 1 / chip.devices
  takes = {
    'matmuls': work.flops / (chip.flops * share * assume.matmuls),
    'kernels': work.kernel_flops / (chip.flops * share * assume.kernels),
    'memory': work.bytes / (chip.memory_speed * share * assume.memory),
  }
  bound = max(takes, key=lambda k: takes[k])
  return bound, takes[bound]
