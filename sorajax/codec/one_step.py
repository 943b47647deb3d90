"""Latents → pixels by one step of diffusion, as LTX-2.5 decodes (Lightricks 2026).

Blocks of neighbourhood attention enlarge the latents to a context, four by four pixels a place.
Beside it, the last blocks read pure noise and say which picture it hides; there is no second step.
Latents are [B, f, h, w, C] and pixels [B, F, H, W, 3] in about [-1, 1]; F = 1 + (f − 1)·stride_t.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sorajax.codec.video_blocks import fold, unfold
from sorajax.geometry import VideoGeometry
from sorajax.nn import layers, neighbourhood, param, rope
from sorajax.nn.layers import Linear, each, in_order
from sorajax.nn.neighbourhood import Size

THETA = 10_000.0  # ratio of the highest to the lowest frequency of a place
ROWS = 7  # of the modulation; scale and shift of attention are 0 and 1, those of the MLP 3 and 4
TOKENS = 16_384  # that an MLP widens at once
VALUES = 2**27  # of queries that heads make at once
PURE = 1.0  # level of the noise


@dataclasses.dataclass(frozen=True)
class Stage:
  """Blocks, and the change of size after them.

  Attributes:
    width: channels of the blocks, a multiple of those of a head.
    blocks: how many.
    window: (frames, height, width) that a place attends to.
    stride: (frames, height, width) by which the size grows; frames by 1 or 2.
  """

  width: int
  blocks: int
  window: Size
  stride: Size


@dataclasses.dataclass(frozen=True)
class OneStepConfig:
  """Its size.

  Attributes:
    channels: C of a latent.
    stages: from latents to the context, in the order in which they run.
    width: channels of the context and of the blocks that read noise.
    blocks: how many of these.
    window: which they attend to.
    patch: side of the squares of pixels that are one place to them.
    head_dim: channels of a head, a multiple of 8.
    level_width: channels of the embedded level of noise.
    level_scale: by which the level is multiplied first.
  """

  channels: int
  stages: tuple[Stage, ...]
  width: int
  blocks: int
  window: Size
  patch: int = 4
  head_dim: int = 64
  level_width: int = 384
  level_scale: float = 1000.0

  def __post_init__(self) -> None:
    if not self.stages:
      raise ValueError('there are no stages; give at least one')
    if self.head_dim % 8:
      raise ValueError(f'heads have {self.head_dim} channels; give a multiple of 8')
    odd = [w for w in (*(s.width for s in self.stages), self.width) if w % self.head_dim]
    if odd:
      raise ValueError(f'{odd[0]} channels do not divide into heads of {self.head_dim}')
    if any(s.stride[0] not in (1, 2) for s in self.stages):
      raise ValueError(f'frames grow by {[s.stride[0] for s in self.stages]}; 1 and 2 are known')

  @property
  def geometry(self) -> VideoGeometry:
    t, y, x = (math.prod(s.stride[axis] for s in self.stages) for axis in range(3))
    return VideoGeometry((t, y * self.patch, x * self.patch), self.channels)

  @property
  def trailing(self) -> int:
    """How often the last latent frame is repeated, so that no window is moved by its end."""
    return self.stages[0].window[0] // 2 * 2

  @property
  def cell(self) -> Size:
    """Frames, height and width of the pixels that become of a place before the last stage."""
    t, y, x = self.stages[-1].stride
    return t, y * self.patch, x * self.patch

  @property
  def coarse(self) -> int:
    """How many frames the last stage reads for each latent frame."""
    return math.prod(s.stride[0] for s in self.stages[:-1])

  @property
  def least_cells(self) -> Size:
    """The least places before the last stage that all windows after it fit into."""
    last = self.stages[-1]
    t, y, x = (max(w, -(-v // s)) for w, v, s in zip(last.window, self.window, last.stride))
    return t, y, x

  @property
  def least(self) -> Size:
    """The least latents (f, h, w) that all windows fit into."""
    need = [1, 1, 1]
    scale = [1, 1, 1]
    windows = [*(s.window for s in self.stages), self.window]
    strides = [*(s.stride for s in self.stages), (1, 1, 1)]
    for n, (window, stride) in enumerate(zip(windows, strides)):
      more = self.trailing * (n < len(self.stages))  # the last blocks see no repeated frames
      for axis in range(3):
        spare = scale[axis] - 1 if axis == 0 else 0  # the first latent gives one frame
        latents = -(-(window[axis] + spare) // scale[axis]) - (more if axis == 0 else 0)
        need[axis] = max(need[axis], latents)
        scale[axis] *= stride[axis]
    t, y, x = need
    return t, y, x

  @property
  def reach(self) -> int:
    """How many latent frames beyond its own a place before the last stage sees, at most."""
    seen = 0
    for stage in self.stages[:-1]:
      seen = (seen + stage.blocks * (stage.window[0] // 2)) * stage.stride[0]
    return -(-seen // self.coarse)


def ltx25() -> OneStepConfig:
  """The decoder of LTX-2.5: 32×32 pixels and 8 frames a latent of 128 channels."""
  stages = (
    Stage(2048, 4, (3, 7, 7), (1, 2, 2)), Stage(1024, 6, (3, 7, 7), (2, 1, 1)),
    Stage(512, 4, (3, 5, 5), (2, 2, 2)), Stage(512, 2, (3, 5, 5), (2, 2, 2)),
  )  # fmt: skip
  return OneStepConfig(128, stages, 256, 8, (11, 11, 11))


def from_dict(fields: Mapping[str, Any]) -> OneStepConfig:
  """The inverse of `dataclasses.asdict`, also after a way through json."""

  def whole(of: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in of.items()}

  stages = tuple(Stage(**whole(stage)) for stage in fields['stages'])
  return OneStepConfig(**{**whole(fields), 'stages': stages})


class Norm(nnx.Module):
  """x ÷ √(mean x²), times a weight for each channel."""

  def __init__(self, width: int):
    self.scale = param.ones((width,), (None,))

  def __call__(self, x: jax.Array) -> jax.Array:
    return layers.rms_norm(x) * self.scale[...].astype(x.dtype)


class Attention(nnx.Module):
  """Heads that attend to a window around each place: [B, L, D] → the same, some heads at a time."""

  def __init__(self, width: int, head_dim: int, window: Size, *, rngs: nnx.Rngs):
    make = functools.partial(Linear, width, width, rngs=rngs)
    self.query, self.key, self.value, self.out = make(), make(), make(), make()
    self.query_norm, self.key_norm = Norm(head_dim), Norm(head_dim)
    self.head_dim, self.window = head_dim, window

  def __call__(self, x: jax.Array, size: Size) -> jax.Array:
    (B, L, D), K = x.shape, self.head_dim
    most = max(VALUES // (B * L * K), 1)
    together = max(n for n in range(1, D // K + 1) if D // K % n == 0 and n <= most) * K
    turns, shape = places(size, K), (B, *size, together // K, K)
    inward = [
      (kernel.reshape(D, -1, together).swapaxes(0, 1), bias.reshape(-1, together))
      for kernel, bias in map(_arrays, (self.query, self.key, self.value))
    ]
    outward, last = _arrays(self.out)

    def add(total: jax.Array, weights: Any) -> tuple[jax.Array, None]:
      """What some heads add to all of them."""
      *projections, back = weights
      q, k, v = ((x @ w + b).reshape(shape) for w, b in projections)
      q = rope.rotate(self.query_norm(q) * K**-0.5, turns)
      k = rope.rotate(self.key_norm(k), turns)
      attended = neighbourhood.attend(q, k, v, self.window)
      return total + attended.reshape(B, L, together) @ back, None

    weights = (*inward, outward.reshape(-1, together, D))
    return jax.lax.scan(add, jnp.broadcast_to(last, x.shape), weights)[0]


def _arrays(linear: Linear) -> tuple[jax.Array, jax.Array]:
  assert linear.bias is not None
  return linear.kernel[...], linear.bias[...]


def places(size: Size, head_dim: int) -> rope.Rope:
  """The rotation of [T, H, W, 1, K]: a quarter of a head turns by its frame, the rest in space.

  Every axis turns whole pairs, so that time may get a pair less.
  """
  of_time = head_dim // 4
  of_time -= (head_dim - of_time) // 2 % 2 * 2
  turns = []
  for axis, width in enumerate((of_time, *[(head_dim - of_time) // 2] * 2)):
    frequency = 1 / THETA ** (np.arange(0, width, 2, dtype=np.float64) / width)
    angle = jnp.arange(size[axis], dtype=jnp.float32)[:, None] * frequency.astype(np.float32)
    shape = [1, 1, 1, 1, width // 2]
    shape[axis] = size[axis]
    turns.append(jnp.broadcast_to(angle.reshape(shape), (*size, 1, width // 2)))
  return rope.by(jnp.concatenate(turns, axis=-1), 'interleaved')


class GatedMlp(nnx.Module):
  """Linear → ·silu(Linear) → Linear (Shazeer 2020): [B, L, D] → the same, some at a time."""

  def __init__(self, width: int, *, rngs: nnx.Rngs):
    hidden = -(-4 * width // 16) * 16
    self.up = Linear(width, hidden, bias=False, rngs=rngs)
    self.gate = Linear(width, hidden, bias=False, rngs=rngs)
    self.down = Linear(hidden, width, bias=False, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    tokens, width = math.prod(x.shape[:2]), x.shape[2]
    run = lambda some: self.down(jax.nn.silu(self.gate(some)) * self.up(some))
    if tokens <= TOKENS:
      return run(x)
    pieces = jnp.pad(x.reshape(tokens, width), ((0, -tokens % TOKENS), (0, 0)))
    made = jax.lax.map(run, pieces.reshape(-1, 1, TOKENS, width))
    return made.reshape(-1, width)[:tokens].reshape(x.shape)


class Block(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)): [B, L, D] → [B, L, D]."""

  def __init__(self, width: int, head_dim: int, window: Size, *, rngs: nnx.Rngs):
    self.first_norm, self.second_norm = Norm(width), Norm(width)
    self.attention = Attention(width, head_dim, window, rngs=rngs)
    self.mlp = GatedMlp(width, rngs=rngs)

  def __call__(self, x: jax.Array, size: Size) -> jax.Array:
    x = x + self.attention(self.first_norm(x), size)
    return x + self.mlp(self.second_norm(x))


class ReadingBlock(nnx.Module):
  """A block whose norms are modulated by the level of noise, and that first adds the context."""

  def __init__(self, c: OneStepConfig, *, rngs: nnx.Rngs):
    self.context = Linear(c.width, c.width, rngs=rngs)
    self.table = param.zeros((ROWS, c.width), (None, None))
    self.first_norm, self.second_norm = Norm(c.width), Norm(c.width)
    self.attention = Attention(c.width, c.head_dim, c.window, rngs=rngs)
    self.mlp = GatedMlp(c.width, rngs=rngs)

  def __call__(self, x: jax.Array, context: jax.Array, rows: jax.Array, size: Size) -> jax.Array:
    scale, shift, _, mlp_scale, mlp_shift, *_ = rows + self.table[...].astype(x.dtype)
    x = x + self.context(context)
    x = x + self.attention(layers.modulate(self.first_norm(x), shift, scale), size)
    return x + self.mlp(layers.modulate(self.second_norm(x), mlp_shift, mlp_scale))


class Enlarge(nnx.Module):
  """A linear map whose outputs become places: [B, T, H, W, C] → [B, T', H', W', C']."""

  def __init__(self, inputs: int, outputs: int, stride: Size, *, rngs: nnx.Rngs):
    self.map = Linear(inputs, outputs * math.prod(stride), rngs=rngs)
    self.stride = stride

  def __call__(self, x: jax.Array, begins: bool) -> jax.Array:
    """`begins`: whether x has the clip's first frame, of which a single one is kept."""
    B, *size, C = x.shape
    y = self.map(x.reshape(B, -1, C)).reshape(B, *size, -1)
    y = unfold(y, self.stride)
    return y[:, 1:] if begins and self.stride[0] == 2 else y


class Level(nnx.Module):
  """Level of noise → rows of modulation [ROWS, D]."""

  def __init__(self, c: OneStepConfig, *, rngs: nnx.Rngs):
    self.up = Linear(256, c.level_width, rngs=rngs)
    self.out = Linear(c.level_width, c.level_width, rngs=rngs)
    self.rows = Linear(c.level_width, ROWS * c.width, scale=0.0, rngs=rngs)
    self.scale = c.level_scale

  def __call__(self, level: float, dtype) -> jax.Array:
    wave = layers.sinusoid(jnp.full((1, 1), level * self.scale), 256).astype(dtype)
    embedding = self.out(jax.nn.silu(self.up(wave)))
    return self.rows(jax.nn.silu(embedding)).reshape(ROWS, -1)


class OneStep(nnx.Module):
  """Latents and noise → pixels, in parts, the last two of which run on a tile at a time."""

  def __init__(self, config: OneStepConfig, *, rngs: nnx.Rngs):
    c, widths = config, [*(s.width for s in config.stages), config.width]
    self.enter = Linear(c.channels, widths[0], rngs=rngs)
    self.stages = in_order(
      in_order(Block(s.width, c.head_dim, s.window, rngs=rngs) for _ in range(s.blocks))
      for s in c.stages
    )
    self.changes = in_order(
      Enlarge(*size, s.stride, rngs=rngs) for size, s in zip(itertools.pairwise(widths), c.stages)
    )
    self.level = Level(c, rngs=rngs)
    self.noise = Linear(3 * c.patch**2, c.width, rngs=rngs)
    self.reading = in_order(ReadingBlock(c, rngs=rngs) for _ in range(c.blocks))
    self.norm = Norm(c.width)
    self.leave = Linear(c.width, 3 * c.patch**2, rngs=rngs)
    self.config = config

  def __call__(self, latents: jax.Array, noise: jax.Array) -> jax.Array:
    """A whole clip, [B, f, h, w, C] and [B, F, H, W, 3] → [B, F, H, W, 3]."""
    return self.pixels(self.context(self.features(latents)), noise)

  def features(self, x: jax.Array, ends: bool = True) -> jax.Array:
    """Latents [B, f, h, w, C] → what the last stage reads.

    Args:
      x: of a clip, or of some frames of it, the first of which becomes a single one.
      ends: whether x has the clip's last frame, which is then repeated.
    """
    if ends:
      x = jnp.concatenate([x, *[x[:, -1:]] * self.config.trailing], axis=1)
    x = _by_tokens(self.enter, x)
    *stages, _ = each(self.stages)
    for blocks, change in zip(stages, each(self.changes)):
      x = change(_through(blocks, x), begins=True)
    return x

  def context(self, x: jax.Array, begins: bool = True, ends: bool = True) -> jax.Array:
    """The last stage, on features of a clip or of a part of it that has its begin, or its end."""
    *_, blocks = each(self.stages)
    *_, change = each(self.changes)
    x = change(_through(blocks, x), begins)
    repeated = self.config.trailing * self.config.geometry.stride[0]
    return x[:, :-repeated] if ends and repeated else x

  def pixels(self, context: jax.Array, noise: jax.Array) -> jax.Array:
    """The step itself, [B, F, H/patch, W/patch, D] and noise [B, F, H, W, 3] → [B, F, H, W, 3]."""
    square, size = (1, self.config.patch, self.config.patch), context.shape[1:4]
    x = _tokens(fold(noise, square))
    rows, x, context = self.level(PURE, x.dtype), self.noise(x), _tokens(context)
    x = _in_turn(self.reading, x, context, rows, size)
    x = self.leave(self.norm(x))
    return unfold(x.reshape(len(x), *size, -1), square)


def _tokens(x: jax.Array) -> jax.Array:
  return x.reshape(len(x), -1, x.shape[-1])


def _by_tokens(run: Linear, x: jax.Array) -> jax.Array:
  return run(_tokens(x)).reshape(*x.shape[:4], -1)


def _through(blocks: nnx.Dict, x: jax.Array) -> jax.Array:
  return _in_turn(blocks, _tokens(x), x.shape[1:4]).reshape(x.shape)


def _in_turn(blocks: nnx.Dict, x: jax.Array, *others: Any) -> jax.Array:
  """x through blocks of one size; in a loop, so that none makes anything before its turn."""
  if not blocks:
    return x
  parts = [nnx.split(block) for block in each(blocks)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(state for _, state in parts))
  step = lambda x, state: (nnx.merge(parts[0][0], state)(x, *others), None)
  return jax.lax.scan(step, x, stacked)[0]
