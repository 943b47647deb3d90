"""Plans of a config: compile its program, read it, estimate its time."""

import dataclasses
import math
from collections.abc import Iterator

from sorajax.codec import codec as codec_lib
from sorajax.codec.convolutional import ConvCodec
from sorajax.errors import UserError
from sorajax.plan import chips, work
from sorajax.plan.estimate import Assumptions, estimate
from sorajax.plan.planned import Plan
from sorajax.plan.program import (
  Compiled,
  DoesNotFit,
  decoding_run,
  lies_on,
  mesh_of,
  sampling_run,
  train_step,
)  # fmt: skip
from sorajax.plan.search import Candidate, candidates, step_of
from sorajax.settings import Settings


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a program would run.

  Attributes:
    name: what to call the plan.
    topology: such as v5p:4x4x8.
    slices: how many of it.
    price: of a chip for an hour; 0 where none is known.
    quick: whether the compiler may leave out what takes it longest; see `program.train_step`.
  """

  name: str
  topology: str
  slices: int = 1
  price: float = 0.0
  quick: bool = False

  def __post_init__(self) -> None:
    chips.chip_of(self.topology)
    chips.sides_of(self.topology)

  @property
  def where(self) -> str:
    """In words."""
    return self.topology if self.slices == 1 else f'{self.slices} slices of {self.topology}'

  @property
  def room(self) -> float:
    """Bytes of a device."""
    chip = chips.chip_of(self.topology)
    return chip.memory / chip.devices


def of_training(settings: Settings, place: Place, rows: int | None = None) -> Iterator[Plan]:
  """What a step of training costs, for each bucket of clips.

  Args:
    settings: of the run.
    place: where it runs.
    rows: of a step, in place of the buckets'.

  Raises:
    UserError: an unknown topology, what does not divide, or a step that does not fit.
  """
  _check(rows)
  mesh = mesh_of(settings, place.topology, place.slices)
  for bucket in settings.data.in_order():
    step = work.Step(settings, dataclasses.replace(bucket, rows=rows or bucket.rows))
    yield _planned(step, train_step(settings, step.bucket, mesh, place.quick, place.room), place)


def of_sampling(
  settings: Settings, place: Place, rows: int | None = None, weights: str = 'float32'
) -> Plan:
  """What it costs to sample a batch of clips of the config's size, from prompts.

  Args:
    settings: of the run that is sampled.
    place: where it runs.
    rows: clips at once, in place of the config's; as many more as the mesh needs are made.
    weights: type of the transformer's.

  Raises:
    UserError: an unknown topology, what does not divide or fit, or a clip that cannot be.
  """
  _check(rows)
  mesh = mesh_of(settings, place.topology, place.slices)
  clips = work.clips_of(settings, rows, mesh)
  return _planned(clips, sampling_run(clips, mesh, place.quick, place.room, weights), place)


def of_decoding(settings: Settings, place: Place, codec: str, rows: int | None = None) -> Plan:
  """What it costs to decode the pictures of clips of the config's size.

  Args:
    settings: of the run whose clips they are.
    place: where it runs.
    codec: a folder or name of a codec; ltx2 for the sizes of LTX-2.0's autoencoder.
    rows: clips at once; 1 where None.

  Raises:
    UserError: an unknown topology, a codec that is not convolutional, or what does not fit.
  """
  _check(rows)
  mesh = mesh_of(settings, place.topology, place.slices)
  pictures = None if codec == 'ltx2' else codec_lib.load(codec).video
  if not isinstance(pictures, ConvCodec | None):
    raise UserError(f'the pictures of --codec={codec} are not convolutional; name another codec')
  decoded = work.decoding_of(settings, pictures, rows or 1)
  return _planned(decoded, decoding_run(decoded, mesh, place.quick, place.room), place)


@dataclasses.dataclass(frozen=True)
class Tried:
  """A way to run that was looked at.

  Attributes:
    candidate: by formula.
    plan: by the compiler; None where it was not asked, or could not.
    refusal: why it could not.
  """

  candidate: Candidate
  plan: Plan | None = None
  refusal: str = ''


def search(
  settings: Settings, place: Place, sampled: bool = False, rows: int | None = None,
  weights: str = 'float32', compiled: int = 2,
) -> Iterator[list[Tried]]:  # fmt: skip
  """Meshes, remat policies and numbers of rows that divide, the fastest for each clip first.

  Args:
    settings: of the run, whose mesh and remat policy others take the place of.
    place: where it runs.
    sampled: whether clips are sampled or the bucket of most tokens is trained on.
    rows: of the whole batch, in place of some that are tried.
    weights: type of the transformer's where clips are sampled.
    compiled: how many of those that fit by formula are compiled.

  Returns:
    all by formula, and again whenever one more is compiled.

  Raises:
    UserError: an unknown topology, or nothing that divides over it.
  """
  _check(rows)
  if compiled < 0:
    raise UserError(f'--search_compile={compiled} is below 0; give how many are compiled')
  chip, sides = chips.chip_of(place.topology), chips.sides_of(place.topology)
  make = work.clips_of if sampled else step_of
  lies = lies_on(place.topology, place.slices)
  found = candidates(settings, chip, sides, make, rows, weights, lies, place.slices)
  if not found:
    raise UserError(f'no mesh over {place.where} divides heads, widths, rows and tokens')
  tried = [Tried(one) for one in found]
  yield tried
  fitting = [i for i, one in enumerate(found) if one.memory.peak <= place.room]
  for i in fitting[:compiled]:
    tried[i] = _compiled(found[i], place, weights)
    yield tried


def _compiled(one: Candidate, place: Place, weights: str) -> Tried:
  settings = one.of.settings
  mesh = mesh_of(settings, place.topology, place.slices)
  try:
    if isinstance(one.of, work.Step):
      program = train_step(settings, one.of.bucket, mesh, place.quick, place.room)
    else:
      program = sampling_run(one.of, mesh, place.quick, place.room, weights)
  except DoesNotFit as error:
    return Tried(one, refusal=str(error).split(';')[0])
  return Tried(one, _planned(one.of, program, place))


def _planned(what: work.Work, compiled: Compiled, place: Place) -> Plan:
  chip, sides = chips.chip_of(place.topology), chips.sides_of(place.topology)
  assume = Assumptions()
  return Plan(
    place.name, place.where, chip, place.slices * math.prod(sides), what, compiled,
    estimate(compiled.program, chip, sides, assume), assume, place.price,
  )  # fmt: skip


def _check(rows: int | None) -> None:
  if rows is not None and rows < 1:
    raise UserError(f'--rows={rows} asks for nothing; give 1 or more')
