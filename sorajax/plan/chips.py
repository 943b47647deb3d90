"""What chips can do at most, by their makers' tables."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from sorajax.errors import UserError

GB = 10**9
TFLOPS = 10**12


@dataclasses.dataclass(frozen=True)
class Chip:
  """One accelerator.

  Attributes:
    flops: of dense products of bfloat16, a second.
    memory: bytes.
    memory_speed: bytes a second between memory and chip.
    link_speed: bytes a second to one neighbour, one way.
    links: neighbours in its torus, both ways along every dimension.
    wraps: a side of a slice that is a multiple of this is a ring; others are lines.
    devices: as how many devices JAX sees it.
    source: where the figures are from.
  """

  flops: float
  memory: float
  memory_speed: float
  link_speed: float
  links: int
  wraps: int
  devices: int = 1
  source: str = ''


_DOCS = 'docs.cloud.google.com/tpu/docs/'
CHIPS: Mapping[str, Chip] = MappingProxyType(
  {
    'v5e': Chip(197 * TFLOPS, 16 * 2**30, 819 * GB, 50 * GB, 4, 16, source=_DOCS + 'v5e'),
    'v5p': Chip(459 * TFLOPS, 95 * 2**30, 2765 * GB, 100 * GB, 6, 4, source=_DOCS + 'v5p'),
    'v6e': Chip(918 * TFLOPS, 32 * 2**30, 1640 * GB, 100 * GB, 4, 16, source=_DOCS + 'v6e'),
    'tpu7x': Chip(2307 * TFLOPS, 192 * 2**30, 7380 * GB, 100 * GB, 6, 4, 2, _DOCS + 'tpu7x'),
  }
)


def chip_of(topology: str) -> Chip:
  """The chip of a topology such as v5p:4x4x8; `UserError` for one that is not in the table."""
  name = topology.partition(':')[0]
  if name not in CHIPS:
    raise UserError(f'no chip {name!r} in the table; choose one of {", ".join(CHIPS)}')
  return CHIPS[name]


def sides_of(topology: str) -> tuple[int, ...]:
  """v5p:4x4x8 → (4, 4, 8), in chips; `UserError` where that cannot be read."""
  try:
    return tuple(int(side) for side in topology.partition(':')[2].split('x'))
  except ValueError:
    raise UserError(f'no topology {topology!r}; write CHIP:SIDExSIDE, such as v6e:16x16') from None
