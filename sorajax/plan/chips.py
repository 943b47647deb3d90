"""What chips can do at most, by their makers' tables, and how they are linked."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sorajax.cluster.commands import GPU_SHARE
from sorajax.errors import UserError
from sorajax.nn.kernels import LANES

GB = 10**9
GBIT = GB / 8
TFLOPS = 10**12


@dataclasses.dataclass(frozen=True)
class Torus:
  """Chips that are linked to their neighbours.

  Attributes:
    link: bytes a second to one neighbour, one way.
    links: neighbours, both ways along every dimension.
    wraps: a side of a slice that is a multiple of this is a ring; others are lines.
  """

  link: float
  links: int
  wraps: int

  def speed(self, members: Sequence[int], sides: tuple[int, ...]) -> float:
    """Bytes a second that each of the members of a group sends, in a torus of these sides.

    A group is taken to lie along the longest sides that hold it, next to each other. Along a ring a
    chip sends both ways; along a line, and so along a part of a ring, its ends send one way and all
    wait for them.
    """
    ways, reached = 0, 1
    for side in sorted((s for s in sides if s > 1), reverse=True):
      if reached < len(members) and ways < self.links:
        ring = side % self.wraps == 0 and reached * side <= len(members)
        ways, reached = ways + (2 if ring else 1), reached * side
    return max(ways, 1) * self.link


@dataclasses.dataclass(frozen=True)
class Machines:
  """Chips behind a switch in each machine, and machines behind switches.

  Attributes:
    near: bytes a second that a chip sends within its machine.
    far: bytes a second that a chip sends to others, through a network card of its own.
  """

  near: float
  far: float

  def speed(self, members: Sequence[int], sides: tuple[int, ...]) -> float:
    """Bytes a second that each of the members of a group sends, over machines × chips of each.

    The data of a group pass each of its machines once, through the cards of all its members there.
    """
    homes = [member // sides[-1] for member in members]
    if len(set(homes)) == 1:
      return self.near
    return min(self.near, min(homes.count(home) for home in homes) * self.far)


@dataclasses.dataclass(frozen=True)
class Chip:
  """One accelerator.

  Attributes:
    flops: of dense matmuls of bfloat16, a second.
    memory: bytes that a program may use.
    memory_speed: bytes a second between memory and chip.
    network: how chips are linked.
    far: bytes a second that it sends to other slices.
    platform: what JAX calls its like.
    devices: as how many devices JAX sees it.
    tile: arrays that are cut finer than this are sent whole.
    source: where the figures are from.
  """

  flops: float
  memory: float
  memory_speed: float
  network: Torus | Machines
  far: float = 0.0
  platform: str = 'tpu'
  devices: int = 1
  tile: int = LANES
  source: str = ''

  def speed(self, members: Sequence[int], sides: tuple[int, ...]) -> float:
    """Bytes a second that each device of a group sends, in slices of these sides.

    The data of a group pass each of its slices once, through the cards of all its members there.
    """
    slices = [member // (math.prod(sides) * self.devices) for member in members]
    near = self.network.speed(members[: slices.count(slices[0])], sides)
    if len(set(slices)) == 1:
      return near / self.devices
    return min(near, min(slices.count(one) for one in slices) * self.far) / self.devices


_TPU = 'docs.cloud.google.com/tpu/docs/'
_GPU = 'resources.nvidia.com, data sheets of the SXM cards, with 400 Gb/s of network for each'
_NVLINK = Machines(450 * GB, 50 * GB)
CHIPS: Mapping[str, Chip] = MappingProxyType(
  {
    'v5e': Chip(
      197 * TFLOPS, 16 * 2**30, 819 * GB, Torus(50 * GB, 4, 16), 25 * GBIT, source=_TPU + 'v5e'
    ),
    'v5p': Chip(
      459 * TFLOPS, 95 * 2**30, 2765 * GB, Torus(100 * GB, 6, 4), 50 * GBIT, source=_TPU + 'v5p'
    ),
    'v6e': Chip(
      918 * TFLOPS, 32 * 2**30, 1640 * GB, Torus(100 * GB, 4, 16), 100 * GBIT, source=_TPU + 'v6e'
    ),
    'tpu7x': Chip(
      2307 * TFLOPS, 192 * 2**30, 7380 * GB, Torus(100 * GB, 6, 4), 100 * GBIT, devices=2,
      source=_TPU + 'tpu7x',
    ),
    'h100': Chip(
      989 * TFLOPS, GPU_SHARE * 84_929_347_584, 3352 * GB, _NVLINK, platform='cuda', tile=1,
      source=_GPU,
    ),
    'h200': Chip(
      989 * TFLOPS, GPU_SHARE * 150_754_820_096, 4800 * GB, _NVLINK, platform='cuda', tile=1,
      source=_GPU,
    ),
  }
)  # fmt: skip


def chip_of(topology: str) -> Chip:
  """The chip of a topology such as v5p:4x4x8; `UserError` for one that is not in the table."""
  name = topology.partition(':')[0]
  if name not in CHIPS:
    raise UserError(f'no chip {name!r} in the table; choose one of {", ".join(CHIPS)}')
  return CHIPS[name]


def sides_of(topology: str) -> tuple[int, ...]:
  """v5p:4x4x8 → (4, 4, 8), in chips; of GPUs, machines × those of each, or those of one machine.

  Raises:
    UserError: what cannot be read.
  """
  try:
    return tuple(int(side) for side in topology.partition(':')[2].split('x'))
  except ValueError:
    raise UserError(f'no topology {topology!r}; write CHIP:SIDExSIDE, such as v6e:16x16') from None
