"""What a command line asks of a model."""

import dataclasses
import re

from sorajax.errors import UserError

FLAGS = {'prompts': 'prompt', 'given_s': 'given_seconds', 'keyframes': 'keyframe'}


@dataclasses.dataclass(frozen=True)
class Ask:
  """What a command line says; None takes the model's default.

  Attributes:
    prompts: one or more clips each.
    task: capability.
    input: path of a film, image or sound.
    given_s: how much of it is given, for `extend`; None gives half the clip.
    hold: how firmly what is given stays as it is.
    strength: noise level at which a `remix` begins; None for 0.7.
    count: clips for each prompt.
    seed: of the first clip; the others count up.
    seconds: duration.
    size: HEIGHTxWIDTH.
    fps: frames a second.
    batch: clips sampled at once.
    reference: path of a film or image that the clips are made after.
    reference_as: the drawing of it that they are made after, by its name in `media.drawings`.
    reference_smaller: how many times smaller that is than the clips.
    keyframes: IMAGE@SECONDS, pictures that the clips come by and when.
  """

  prompts: tuple[str, ...] = ('',)
  task: str = 'text_to_clip'
  input: str | None = None
  given_s: float | None = None
  hold: float = 1.0
  strength: float | None = None
  count: int = 1
  seed: int = 0
  seconds: float | None = None
  size: str | None = None
  fps: float | None = None
  batch: int | None = None
  reference: str | None = None
  reference_as: str = 'picture'
  reference_smaller: int = 1
  keyframes: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    if self.count < 1:
      raise UserError(f'--count={self.count} asks for nothing; give 1 or more')
    if self.batch is not None and self.batch < 1:
      raise UserError(f'--batch={self.batch} is no batch; give 1 or more')
    if self.size is not None:
      parse_size(self.size)


def check_none(ask: Ask) -> None:
  """Raises where something is asked for beside a record, which says all."""
  for field in dataclasses.fields(ask):
    if getattr(ask, field.name) != field.default:
      name = FLAGS.get(field.name, field.name)
      raise UserError(f'--again makes what its record says; leave out --{name}')


def parse_size(text: str) -> tuple[int, int]:
  """'64x96' → (64, 96)."""
  found = re.fullmatch('0*([1-9][0-9]{0,5})x0*([1-9][0-9]{0,5})', text.lower())
  if found is None:
    raise UserError(f'--size={text} is not HEIGHTxWIDTH; write for instance --size=64x96')
  return int(found[1]), int(found[2])
