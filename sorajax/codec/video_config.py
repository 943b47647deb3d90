"""The size of a convolutional video autoencoder, and how far it sees."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sorajax.geometry import VideoGeometry
from sorajax.nn.conv import Padding

Stride = tuple[int, int, int]
Kernel = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Kernels:
  """(frames, height, width) of convolutions.

  Attributes:
    first: of a residual block.
    second: of a residual block.
    change: of those that change the size or the channels.
  """

  first: Kernel
  second: Kernel
  change: Kernel

  def block(self, axis: int) -> int:
    """How far beyond its own position a residual block sees on either side."""
    return self.first[axis] // 2 + self.second[axis] // 2


@dataclasses.dataclass(frozen=True)
class Shift:
  """Blocks that move channels by one position and mix them in a perceptron, in place of kernels.

  Changes of size are then linear maps of whole groups; no stage needs a `factor` or a `residual`.

  Attributes:
    times: the width of the perceptron is this many times that of the block.
  """

  times: int
  change: ClassVar[Kernel] = (1, 1, 1)

  def block(self, axis: int) -> int:
    """How far beyond its own position a block sees on either side."""
    return 1


WHOLE = Kernels((3, 3, 3), (3, 3, 3), (3, 3, 3))
FACTORED = Kernels((1, 3, 3), (3, 1, 1), (1, 3, 3))  # space and time in turn: a third of the work


@dataclasses.dataclass(frozen=True)
class Stage:
  """Residual blocks at the finer size, and the change of size after (encoder) or before (decoder).

  Attributes:
    stride: (frames, height, width) by which the size changes.
    width: channels after the stage.
    blocks: how many.
    factor: in a decoder, the convolution of the change reads factor · width channels; a block
      makes them where the stage before left another number.
    residual: whether the change of size adds its input, regrouped.
  """

  stride: Stride
  width: int
  blocks: int
  factor: int = 1
  residual: bool = True


@dataclasses.dataclass(frozen=True)
class HalfConfig:
  """An encoder or a decoder.

  Attributes:
    stem: channels after the first convolution.
    stages: in the order in which they run.
    inner: residual blocks at the coarsest size.
    kernels: how far convolutions reach, or what takes their place.
    causal: whether a frame sees none after it.
    padding: how space goes on beyond its edges.
  """

  stem: int
  stages: tuple[Stage, ...]
  inner: int
  kernels: Kernels | Shift = WHOLE
  causal: bool = True
  padding: Padding = 'zeros'

  def __post_init__(self) -> None:
    if self.shifts and not self.causal:
      raise ValueError('blocks that shift see the frame before; they must be causal')

  @property
  def shifts(self) -> bool:
    """Whether its blocks shift and convolve nothing."""
    return isinstance(self.kernels, Shift)

  @property
  def stride(self) -> Stride:
    t, y, x = (math.prod(s.stride[axis] for s in self.stages) for axis in range(3))
    return t, y, x


@dataclasses.dataclass(frozen=True)
class VideoConfig:
  """An autoencoder of pictures.

  Attributes:
    channels: C of a latent.
    patch: side of the squares of pixels that are folded into channels first.
    encoder: pixels to latents.
    decoder: latents to pixels.
    straight: whether a linear map of every patch runs beside either half, which then begins with
      nothing to add to it; both halves must be causal.
    join: side of the squares of places that then share a latent, whose channels are theirs in turn:
      a transformer has fewer tokens, and the halves see small bodies where they are.
  """

  channels: int
  patch: int
  encoder: HalfConfig
  decoder: HalfConfig
  straight: bool = False
  join: int = 1

  def __post_init__(self) -> None:
    if self.channels % self.join**2:
      raise ValueError(f'{self.channels} channels cannot be those of {self.join**2} places in turn')
    if self.straight and not (self.encoder.causal and self.decoder.causal):
      raise ValueError('a straight path beside halves that look ahead would be out of step')
    if self.encoder.stride != self.decoder.stride:
      raise ValueError(f'encoder stride {self.encoder.stride} ≠ decoder {self.decoder.stride}')
    widths = [self.encoder.stem, *(s.width for s in self.encoder.stages)]
    for before, stage in zip(widths, () if self.encoder.shifts else self.encoder.stages):
      cells = math.prod(stage.stride)
      if stage.width % cells or (stage.residual and before * cells % stage.width):
        raise ValueError(f'{before} channels cannot become {stage.width} by stride {stage.stride}')
    for stage in () if self.decoder.shifts else self.decoder.stages:
      cells = math.prod(stage.stride)
      if stage.residual and (stage.factor * stage.width % cells or cells % stage.factor):
        raise ValueError(f'{stage} cannot add its input: factor · width must divide by {cells}')

  @property
  def geometry(self) -> VideoGeometry:
    t, y, x = self.encoder.stride
    side = self.patch * self.join
    return VideoGeometry((t, y * side, x * side), self.channels)


def encoder_reach(config: VideoConfig) -> int:
  """How many latents beyond its own a latent sees of the picture, up, down, left or right."""
  half = config.encoder
  block, change = half.kernels.block(1), half.kernels.change[1] // 2
  reach, step = change, 1  # in patches
  for stage in half.stages:
    reach += (block * stage.blocks + change) * step
    step *= max(stage.stride[1:])
  reach += (block * half.inner + change) * step
  return math.ceil(reach / (min(half.stride[1:]) * config.join))


def decoder_reach(config: VideoConfig) -> int:
  """How many latents beyond its own a pixel sees, up, down, left or right."""
  half = config.decoder
  block, change = half.kernels.block(1), half.kernels.change[1] // 2
  reach, before = change + block * half.inner, half.stem
  for stage in half.stages:
    enters = not half.shifts and before != stage.factor * stage.width
    reach = (reach + block * enters + change) * max(stage.stride[1:]) + block * stage.blocks
    before = stage.width
  return math.ceil((reach + change) / (min(half.stride[1:]) * config.join))


def reach(config: VideoConfig) -> int:
  """How many latents beyond its own either half sees at most; tiles share twice that."""
  return max(encoder_reach(config), decoder_reach(config))


def decoder_lead(half: HalfConfig) -> int:
  """How many latent frames a decoder must see before it can give its first frame."""
  if half.causal:
    return 1
  return next(n for n in itertools.count(1) if _frames_out(half, n) > 0)


def _frames_out(half: HalfConfig, frames: int) -> int:
  """The frames that a decoder which is not causal gives of `frames` latents, if more may follow."""
  block, change = half.kernels.block(0), half.kernels.change[0] // 2
  frames, before = frames - change - block * half.inner, half.stem
  for stage in half.stages:
    enters = before != stage.factor * stage.width
    frames -= block * enters + change
    frames = (frames - 1) * stage.stride[0] + 1 - block * stage.blocks
    before = stage.width
  return frames - change


def compact(
  stride: Stride,
  channels: int,
  widths: Sequence[int],
  *,
  blocks: int = 1,
  decoder_blocks: int = 0,
  decoder_widths: Sequence[int] = (),
  patch: int = 4,
  kernels: Kernels | Shift = WHOLE,
) -> VideoConfig:
  """A causal autoencoder whose decoder has the sizes of its encoder in reverse.

  Space shrinks in the first stages, time in the last. With convolutions each of `widths` should be
  once or twice the one before it.

  Args:
    stride: (frames, height, width) of the pixels that one latent covers; powers of 2 in time, and
      `patch` times powers of 2 in space.
    channels: C of a latent.
    widths: channels at every size, one more than there are stages.
    blocks: residual blocks at every size of the encoder.
    decoder_blocks: the same of the decoder; 0 for as many as the encoder has.
    decoder_widths: channels at every size of the decoder; none for `widths`.
    patch: side of the squares of pixels that are folded into channels first.
    kernels: how far convolutions reach, or what takes their place.

  Raises:
    ValueError: where they do not fit together.
  """
  halvings = [math.log2(s / p) for s, p in zip(stride, (1, patch, patch))]
  count = len(widths) - 1
  if any(h != int(h) or h < 0 for h in halvings):
    raise ValueError(f'stride {stride} must be powers of 2, in space times the patch of {patch}')
  fewest, most = max(halvings), halvings[0] + max(halvings[1:])
  if not fewest <= count <= most:
    raise ValueError(
      f'stride {stride} with patch {patch} needs {fewest:g} to {most:g} stages, not {count}'
    )
  strides = [
    (1 + (i >= count - halvings[0]), 1 + (i < halvings[1]), 1 + (i < halvings[2]))
    for i in range(count)
  ]
  down = [Stage(s, w, blocks) for s, w in zip(strides, widths[1:])]
  more, outward = decoder_blocks or blocks, decoder_widths or widths
  if len(outward) != len(widths):
    raise ValueError(f'{len(outward)} decoder_widths for {len(widths)} widths')
  up = [
    Stage(s, fine, more, factor=max(coarse // fine, 1))
    for s, fine, coarse in zip(strides, outward, outward[1:])
  ]
  encoder = HalfConfig(widths[0], tuple(down), blocks, kernels)
  decoder = HalfConfig(outward[-1], tuple(up[::-1]), more, kernels)
  return VideoConfig(channels, patch, encoder, decoder)


def ltx2() -> VideoConfig:
  """The autoencoder of LTX-2.0: 32×32 pixels and 8 frames a latent of 128 channels."""
  space, time, both = (1, 2, 2), (2, 1, 1), (2, 2, 2)
  down = ((space, 256, 4), (time, 512, 6), (both, 1024, 6), (both, 2048, 2))
  up = ((both, 512, 5), (both, 256, 5), (both, 128, 5))
  encoder = HalfConfig(128, tuple(Stage(*s) for s in down), 2)
  stages = tuple(Stage(*s, factor=2) for s in up)
  decoder = HalfConfig(1024, stages, 5, causal=False, padding='reflect')
  return VideoConfig(128, 4, encoder, decoder)


def from_dict(fields: Mapping[str, Any]) -> VideoConfig:
  """The inverse of `dataclasses.asdict`, also after a way through json."""

  def half(of: Mapping[str, Any]) -> HalfConfig:
    stages = tuple(Stage(**{**s, 'stride': tuple(s['stride'])}) for s in of['stages'])
    own = of['kernels']
    shift = Shift(own['times']) if 'times' in own else None
    kernels = shift or Kernels(**{name: tuple(kernel) for name, kernel in own.items()})
    return HalfConfig(**{**of, 'stages': stages, 'kernels': kernels})

  halves = {name: half(fields[name]) for name in ('encoder', 'decoder')}
  return VideoConfig(**{**fields, **halves})
