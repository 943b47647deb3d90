"""Which mesh, remat policy and number of rows: by formula among all, by the compiler among few."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Literal, get_args

from sorajax import build, sharding
from sorajax.data.loader import check_batch
from sorajax.errors import UserError
from sorajax.plan.chips import Chip
from sorajax.plan.estimate import Assumptions, Estimate, estimate
from sorajax.plan.formula import Formula, shapes_of
from sorajax.plan.memory import Memory
from sorajax.plan.work import Clips, Step
from sorajax.settings import Settings
from sorajax.sharding import MeshConfig

Remat = Literal['none', 'dots', 'narrow', 'attention', 'full', 'offload']
REMATS: tuple[Remat, ...] = get_args(Remat)  # the less each keeps
ROWS = (1, 2, 4, 8)  # of a micro-batch, on each of the shards of a batch

Maker = Callable[[Settings, int, sharding.Mesh], Step | Clips]


@dataclasses.dataclass(frozen=True)
class Candidate:
  """One way to run, by formula.

  Attributes:
    of: what is run, with its mesh, remat policy and rows.
    memory: of one device.
    estimate: of the time of a run.
  """

  of: Step | Clips
  memory: Memory
  estimate: Estimate

  @property
  def seconds(self) -> float:
    """For each clip."""
    return self.estimate.seconds / self.of.clips

  @property
  def flags(self) -> str:
    """By which `train.py` or `plan.py` runs it."""
    own = self.of.settings
    sizes = [f'--config.mesh.{axis}={getattr(own.mesh, axis)}' for axis in sharding.AXES]
    remat = [f'--config.transformer.remat={own.transformer.remat}'] * isinstance(self.of, Step)
    return ' '.join([*sizes, *remat, f'--rows={self.of.bucket.rows}'])


def step_of(settings: Settings, rows: int, mesh: sharding.Mesh) -> Step:
  """A step on the bucket of most tokens; `UserError` where it does not divide."""
  largest = max(settings.data.in_order(), key=lambda b: b.video + b.audio)
  bucket = dataclasses.replace(largest, rows=rows)
  check_batch(bucket, settings.train.micro_batches, mesh)
  return Step(settings, bucket)


def candidates(
  settings: Settings, chip: Chip, sides: tuple[int, ...], make: Maker = step_of,
  rows: int | None = None, weights: str = 'float32',
  lies: Callable[[MeshConfig], bool] = lambda config: True, slices: int = 1,
) -> list[Candidate]:  # fmt: skip
  """All ways to run that divide, the fastest for each clip first, by formula.

  Args:
    settings: of the run, whose mesh and remat policy others take the place of.
    chip: of the slices.
    sides: of one.
    make: `step_of`, or `work.clips_of`, where remat policies do not matter.
    rows: of the whole batch; None tries some.
    weights: type of the transformer's where clips are sampled.
    lies: whether a mesh can be laid over the slices.
    slices: how many.
  """
  shapes, found = shapes_of(settings), []
  for config in meshes(slices * math.prod(sides) * chip.devices):
    mesh = sharding.abstract_mesh(dataclasses.astuple(config))
    for own in _policies(dataclasses.replace(settings, mesh=config), make is step_of):
      if _legal(own, mesh) and lies(config):
        for count in [rows] if rows else _rows(own, mesh):
          made = _made(make, own, count, mesh)
          if made:
            formula = Formula(made, dict(mesh.shape), shapes, weights, chip.tile)
            spent = estimate(formula, chip, sides, Assumptions())
            found.append(Candidate(made, formula.memory(), spent))
  return sorted(found, key=lambda one: one.seconds)


def meshes(devices: int) -> Iterator[MeshConfig]:
  """Every mesh of so many devices."""
  divisors = [n for n in range(1, devices + 1) if devices % n == 0]
  for fsdp in divisors:
    for context in divisors:
      for tensor in divisors:
        data, rest = divmod(devices, fsdp * context * tensor)
        if not rest:
          yield MeshConfig(data, fsdp, context, tensor)


def _policies(settings: Settings, trains: bool) -> Iterator[Settings]:
  remats: tuple[Remat, ...] = REMATS if trains else (settings.transformer.remat,)
  for remat in remats:
    transformer = dataclasses.replace(settings.transformer, remat=remat)
    yield dataclasses.replace(settings, transformer=transformer)


def _rows(settings: Settings, mesh: sharding.Mesh) -> list[int]:
  shards = sharding.shards_of(mesh, 'batch')
  return [shards * settings.train.micro_batches * each for each in ROWS]


def _legal(settings: Settings, mesh: sharding.Mesh) -> bool:
  try:
    build.check_mesh(settings, mesh)
  except UserError:
    return False
  return True


def _made(make: Maker, settings: Settings, rows: int, mesh: sharding.Mesh) -> Step | Clips | None:
  """None where rows or tokens do not divide over the mesh."""
  try:
    return make(settings, rows, mesh)
  except UserError:
    return None
