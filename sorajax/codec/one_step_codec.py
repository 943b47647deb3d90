"""Pictures decoded by one step of diffusion, on the host, in tiles of space and time.

As in LTX-2.5: all but the last stage and the step run on whole pictures, which is cheap; these two
run on tiles that overlap and fade into each other. A clip that fits into one tile is decoded whole.
A tile sees less than the whole does at its inner edges, so that how a clip is cut shows faintly;
how many devices share the tiles does not, nor in which pieces latents come.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding
from sorajax.codec import one_step, plain
from sorajax.codec.convolutional import ConvCodec, ConvEncoder, State, as_bytes, check_latents
from sorajax.codec.one_step import OneStep, OneStepConfig
from sorajax.errors import UserError
from sorajax.geometry import VideoGeometry
from sorajax.nn.neighbourhood import Size

Span = tuple[int, int]
TILE, STEP = (80, 768, 768), (56, 704, 704)  # frames, height and width, as in LTX-2.5
OWN, BASE = 'one_step/', 'base/'  # what names of saved arrays begin with


@dataclasses.dataclass(frozen=True)
class OneStepCodec:
  """uint8 [F, H, W, 3] ↔ float32 [f, h, w, C]: the latents of another codec, decoded anew.

  Attributes:
    base: encodes; its latents are decoded.
    config: the decoder's size.
    params: its parameters.
    seed: of the noise that every clip begins with, so that latents alone say what they become.
    tile: frames, height and width of what is decoded at once.
    step: how far the next tile begins after a tile.
  """

  kind: ClassVar[str] = 'one step'
  base: ConvCodec
  config: OneStepConfig
  params: plain.Params
  seed: int = 0
  tile: Size = TILE
  step: Size = STEP

  def __post_init__(self) -> None:
    if self.config.geometry != self.base.geometry:
      raise UserError(
        f'the one-step decoder is of {self.config.geometry} and the autoencoder of '
        f'{self.base.geometry}; give those of one release'
      )
    size, step, least = *self.cells, self.config.least_cells
    if any(s > t or s < 1 or t < n for t, s, n in zip(size, step, least)):
      need = tuple(n * c for n, c in zip(least, self.config.cell))
      raise UserError(
        f'tiles of {self.tile} every {self.step} frames and pixels do not do; they must overlap '
        f'and be at least of {need}'
      )

  @property
  def cells(self) -> tuple[Size, Size]:
    """A tile and a step, in places before the last stage."""
    (t, y, x), (st, sy, sx) = (
      [n // c for n, c in zip(given, self.config.cell)] for given in (self.tile, self.step)
    )
    return (t, y, x), (st, sy, sx)

  @property
  def geometry(self) -> VideoGeometry:
    return self.base.geometry

  @property
  def spread(self) -> np.ndarray:
    return self.base.spread

  @property
  def mean(self) -> np.ndarray:
    return self.base.mean

  @property
  def scale(self) -> np.ndarray:
    return self.base.scale

  def encoder(self) -> ConvEncoder:
    """Codes a clip piece by piece."""
    return self.base.encoder()

  def decoder(self) -> 'OneStepDecoder':
    """Decodes a clip piece by piece."""
    return OneStepDecoder(self)

  def decode(self, latents: np.ndarray) -> np.ndarray:
    """A whole clip's latents float32 [f, h, w, C] to pixels; `UserError` where they do not do."""
    decoder = self.decoder()
    return np.concatenate([decoder.push(latents), decoder.finish()])

  def check_size(self, size: Sequence[int]) -> None:
    """`UserError` where latents (f, h, w) are too few for its windows."""
    g, least = self.geometry, self.config.least
    if all(n >= few for n, few in zip(size, least)):
      return
    told, need = (
      f'{g.pixel_frames(f)} frames of {h * g.stride[1]}×{w * g.stride[2]} pixels'
      for f, h, w in (size, least)
    )
    raise UserError(
      f'a clip of {told} is too small for the windows of the one-step decoder; ask for at least '
      f'{need}, or add --decoder=convolutional'
    )

  def shape(self) -> dict[str, Any]:
    """All but the arrays, fit for json."""
    own = {name: getattr(self, name) for name in ('seed', 'tile', 'step')}
    return {'base': self.base.shape(), 'config': dataclasses.asdict(self.config), **own}

  def arrays(self) -> dict[str, np.ndarray]:
    """All arrays by name, to be saved in one flat file."""
    own = {OWN + name: a for name, a in plain.flat(self.params).items()}
    return {**own, **{BASE + name: a for name, a in self.base.arrays().items()}}

  @classmethod
  def restored(cls, shape: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> 'OneStepCodec':
    """The codec that `shape` and `arrays` describe; `UserError` where an array does not fit."""
    config = one_step.from_dict(shape['config'])
    of = lambda begin: {n.removeprefix(begin): a for n, a in arrays.items() if n.startswith(begin)}
    params = plain.unflat(of(OWN), plain.shapes(OneStep, config))
    base = ConvCodec.restored(shape['base'], of(BASE))
    return cls(base, config, params, shape['seed'], tuple(shape['tile']), tuple(shape['step']))


class OneStepDecoder:
  """Decodes latents piece by piece; what a tile needs is decoded once all of it is there.

  Besides a tile, latents that it sees beyond its own are held, and the frames that fade into the
  next tile.
  """

  def __init__(self, codec: OneStepCodec):
    self._codec, c = codec, codec.config
    self._params = sharding.everywhere(codec.params)
    self._held = np.zeros((0, 0, 0, c.channels), np.float32)  # latents from number `_start` on
    self._start, self._count = 0, 0
    self._number = 0  # of the next tile in time
    self._tail = np.zeros((0, 0, 0, 3), np.float32)  # of the tile before

  def push(self, latents: np.ndarray) -> np.ndarray:
    """The next latents, float32 [f', h, w, C] → the frames uint8 [F', H, W, 3] they complete."""
    check_latents(latents, self._codec.config.channels)
    size = latents.shape[1:3]
    if self._count and self._held.shape[1:3] != size:
      raise UserError(
        f'latents of {size} follow latents of {self._held.shape[1:3]}; begin a stream for each clip'
      )
    self._codec.check_size((self._codec.config.least[0], *size))
    held = self._held if self._count else self._held.reshape(0, *size, latents.shape[3])
    self._held = np.concatenate([held, np.asarray(latents, np.float32)])
    self._count += len(latents)
    return self._joined(self._ready(ended=False))

  def finish(self) -> np.ndarray:
    """The frames that are left; `UserError` where there are too few for one of its windows."""
    if self._count:
      self._codec.check_size((self._count, *self._held.shape[1:3]))
    return self._joined(self._ready(ended=True))

  def state(self) -> State:
    """All that `resume` needs to go on in another process."""
    counts = np.asarray([self._start, self._count, self._number])
    return {'counts': counts, 'held': self._held, 'tail': self._tail}

  def resume(self, state: State) -> None:
    """Goes on from what `state` gave; the codec must be the same."""
    self._start, self._count, self._number = state['counts'].tolist()
    self._held, self._tail = state['held'], state['tail']

  def _joined(self, parts: Iterator[np.ndarray]) -> np.ndarray:
    size = [n * s for n, s in zip(self._held.shape[1:3], self._codec.geometry.stride[1:])]
    return np.concatenate([np.zeros((0, *size, 3), np.uint8), *map(as_bytes, parts)])

  def _ready(self, ended: bool) -> Iterator[np.ndarray]:
    """The frames float32 [F, H, W, 3] of the tiles in time that can be decoded."""
    while (span := self._next(ended)) is not None:
      begin, end, last = span
      made, frames = self._frames(begin, end), self._codec.config.cell[0]
      (tile, *_), (step, *_) = self._codec.cells
      fade = (tile - step) * frames
      if self._number:
        made = faded(self._tail, made, 0, fade)
      kept = len(made) if last else step * frames - (frames == 2 and self._number == 0)
      self._tail = made[len(made) - fade :] if fade and not last else made[:0]
      self._number += 1
      self._forget()
      yield made[:kept]
      if last:
        self._count, self._start, self._number, self._held = 0, 0, 0, self._held[:0]
        return

  def _next(self, ended: bool) -> tuple[int, int, bool] | None:
    """Begin and end of the next tile in places in time, and whether it is the last; else None."""
    if not self._count:
      return None
    (tile, *_), (step, *_) = self._codec.cells
    length, begin = self._length(), self._number * step
    follows = length - begin - step >= self._codec.config.least_cells[0]
    follows = follows and (length > tile or begin > 0)
    if ended:
      return begin, min(begin + tile, length) if follows else length, not follows
    end = begin + tile
    if not follows or end >= length or self._latents(begin, end)[1] > self._count:
      return None
    return begin, end, False

  def _length(self) -> int:
    """How many places in time the latents that have come are."""
    coarse = self._codec.config.coarse
    return coarse * self._count - (coarse - 1)

  def _latents(self, begin: int, end: int) -> Span:
    """The latent frames that places in time see."""
    coarse, reach = self._codec.config.coarse, self._codec.config.reach
    return max(begin // coarse - reach, 0), -(-(end + coarse - 1) // coarse) + reach

  def _forget(self) -> None:
    """Lets go of latents that no later tile sees."""
    begin = self._number * self._codec.cells[1][0]
    first = min(self._latents(begin, begin)[0], self._count)
    if first > self._start:
      self._held, self._start = self._held[first - self._start :], first

  def _frames(self, begin: int, end: int) -> np.ndarray:
    """All of the picture in a tile of time, float32 [F, H, W, 3]."""
    c, codec = self._codec.config, self._codec
    first, until = self._latents(begin, end)
    trailing = end == self._length()
    until = self._count if trailing else min(until, self._count)
    seen = self._held[None, first - self._start : until - self._start]
    statistics = codec.mean, codec.scale
    with refusing(codec):
      made = _features(c, self._params, statistics, seen, ends=until == self._count)
      features = sharding.gathered(made)
    at = begin - first * c.coarse
    features = features[0, at:] if trailing else features[0, at : at + end - begin]
    size = features.shape[1:3]
    (_, *tile), (_, *step) = codec.cells
    axes = [spans(*axis) for axis in zip(size, tile, step, c.least_cells[1:])]
    decoded = self._tiles(features, axes, begin, trailing)
    fade = [(t - s) * cell for t, s, cell in zip(tile, step, c.cell[1:])]
    return assembled(decoded, axes, fade, [s * cell for s, cell in zip(step, c.cell[1:])])

  def _tiles(
    self, features: np.ndarray, axes: list[list[Span]], begin: int, trailing: bool
  ) -> dict[Span, np.ndarray]:
    """(row, column) of a tile → its pixels; as many at once as there are devices for rows."""
    codec, (frames, *cell) = self._codec, self._codec.config.cell
    alike: dict[Span, list[Span]] = {}
    for (i, (top, bottom)), (j, (left, right)) in itertools.product(*map(enumerate, axes)):
      alike.setdefault((bottom - top, right - left), []).append((i, j))
    canvas = features.shape[1] * cell[0], features.shape[2] * cell[1]
    frame = max(begin * frames - (frames == 2), 0)
    together = sharding.shards('batch')
    made: dict[Span, np.ndarray] = {}
    for places in alike.values():
      for first in range(0, len(places), together):
        some = places[first : first + together]
        rows = some + some[-1:] * (together - len(some)) if len(places) > 1 else some
        areas = [(axes[0][i], axes[1][j]) for i, j in rows]
        parts = np.stack([features[:, slice(*y), slice(*x)] for y, x in areas])
        corners = np.array([(frame, y[0] * cell[0], x[0] * cell[1]) for y, x in areas], np.int32)
        inputs = sharding.by_rows(parts), sharding.by_rows(corners)
        ways = {'canvas': canvas, 'begins': begin == 0, 'ends': trailing}
        with refusing(codec):
          run = _pixels(codec.config, self._params, np.uint32(codec.seed), *inputs, **ways)
          made |= dict(zip(some, sharding.gathered(run)))
    return made


def spans(length: int, size: int, step: int, least: int) -> list[Span]:
  """Tiles (begin, end) of `size` that begin every `step`; the last takes up what is below `least`.

  Such a rest may be too small for a window, so that it cannot stand alone.
  """
  if length <= size:
    return [(0, length)]
  starts = [s for s in range(0, length, step) if s == 0 or length - s >= least]
  return [(s, min(s + size, length)) for s in starts[:-1]] + [(starts[-1], length)]


def faded(before: np.ndarray, after: np.ndarray, axis: int, count: int) -> np.ndarray:
  """`after`, whose first `count` values along an axis come out of the last of `before`."""
  count = min(before.shape[axis], after.shape[axis], count)
  ramp = np.arange(count, dtype=np.float32)[:, None, None, None] / max(count, 1)
  old, new = (np.moveaxis(a, axis, 0) for a in (before, after))
  mixed = old[len(old) - count :] * (1 - ramp) + new[:count] * ramp
  return np.moveaxis(np.concatenate([mixed, new[count:]]), 0, axis)


def assembled(
  tiles: Mapping[Span, np.ndarray], axes: list[list[Span]], fade: list[int], step: list[int]
) -> np.ndarray:
  """A picture [F, H, W, 3] of tiles by (row, column), each faded out of those above and left."""
  rows, done = [], dict(tiles)
  for i in range(len(axes[0])):
    row = []
    for j in range(len(axes[1])):
      one = done[i, j]
      one = faded(done[i - 1, j], one, 1, fade[0]) if i else one
      one = done[i, j] = faded(done[i, j - 1], one, 2, fade[1]) if j else one
      height = step[0] if i < len(axes[0]) - 1 else None
      row.append(one[:, :height, : step[1] if j < len(axes[1]) - 1 else None])
    rows.append(np.concatenate(row, axis=2))
  return np.concatenate(rows, axis=1)


@contextlib.contextmanager
def refusing(codec: OneStepCodec) -> Iterator[None]:
  """Within, a device whose memory is full ends in one line that says what to do."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    t, y, x = codec.tile
    raise UserError(
      f'a tile of {t} frames of {y}×{x} pixels does not fit into the memory of a device; ask for '
      'a smaller clip, or add --decoder=convolutional'
    ) from error


def noise(seed: jax.Array, corner: jax.Array, size: Size, canvas: Span) -> jax.Array:
  """Noise [F, H, W, 3] of a tile, cut out of that of a whole clip.

  A value depends on the seed, its place, and the height and width of the clip alone.

  Args:
    seed: of the clip.
    corner: int32 [3], the first frame, row and column of the tile.
    size: of the tile.
    canvas: height and width of the clip.
  """

  def of_frame(frame: jax.Array) -> jax.Array:
    key = jax.random.fold_in(jax.random.key(seed), frame)
    whole = jax.random.normal(key, (*canvas, 3))
    return jax.lax.dynamic_slice(whole, (corner[1], corner[2], 0), (*size[1:], 3))

  return jax.lax.map(of_frame, corner[0] + jnp.arange(size[0]))


@functools.partial(jax.jit, static_argnames=('config', 'ends'))
def _features(config, params, statistics, latents, *, ends):
  """Normalised latents [1, f, h, w, C] → what the last stage reads, by every device the same."""

  def run(latents, params, statistics):
    mean, scale = statistics
    return plain.joined(OneStep, config, params).features(latents * scale + mean, ends)

  return sharding.each_device(run, latents, params, statistics)


@functools.partial(jax.jit, static_argnames=('config', 'canvas', 'begins', 'ends'))
def _pixels(config, params, seed, features, corners, *, canvas, begins, ends):
  """Tiles of features [B, t, h, w, D] and their corners [B, 3] → pixels [B, F, H, W, 3]."""

  def run(features, corners, params, seed):
    network = plain.joined(OneStep, config, params)
    context = network.context(features, begins, ends)
    _, F, H, W, _ = context.shape
    size = F, H * config.patch, W * config.patch
    drawn = [noise(seed, corner, size, canvas) for corner in corners]
    return network.pixels(context, jnp.stack(drawn))

  return sharding.each_device(run, features, corners, params, seed)
