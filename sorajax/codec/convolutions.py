"""Pictures through a learned autoencoder, in pieces of time and tiles of space.

Peak memory is that of a piece of a tile and of what its layers carry, whatever the duration.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from sorajax import sharding
from sorajax.codec.past import Past
from sorajax.codec.tiles import blend, tiles
from sorajax.codec.video import AutoencoderConfig, Level, merged
from sorajax.errors import UserError
from sorajax.geometry import VideoGeometry

PIECE_PIXELS = 2**21  # coded at once, about

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ConvolutionCodec:
  """uint8 [F, H, W, 3] ↔ float32 [f, h, w, C].

  Attributes:
    config: of the autoencoder.
    params: its weights, as nested dicts.
    mean: float32 [C] of its latents, subtracted from them.
    scale: float32 [C], by which they are divided then.
    spread: float32 [C], the standard deviation of what comes out.
    tile: latents to a side that are coded at once; larger pictures are cut into such tiles.
    overlap: latents that neighbouring tiles share. From 2 · config.reach + 1 on they agree exactly.
  """

  kind: ClassVar[str] = 'convolutions'
  config: AutoencoderConfig
  params: Params
  mean: np.ndarray
  scale: np.ndarray
  spread: np.ndarray
  tile: int = 32
  overlap: int = 8

  @property
  def geometry(self) -> VideoGeometry:
    return VideoGeometry(self.config.stride, self.config.channels)

  def encoder(self) -> 'ConvolutionEncoder':
    """Codes a clip piece by piece."""
    return ConvolutionEncoder(self)

  def decoder(self) -> 'ConvolutionDecoder':
    """Decodes a clip piece by piece."""
    return ConvolutionDecoder(self)

  def shape(self) -> dict[str, Any]:
    """What `restored` needs beside the arrays."""
    return {'config': dataclasses.asdict(self.config), 'tile': self.tile, 'overlap': self.overlap}

  def arrays(self) -> dict[str, np.ndarray]:
    """What is learned and measured."""
    leaves = jax.tree_util.tree_leaves_with_path(self.params)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator='/')
    weights = {f'params/{name(path)}': np.asarray(leaf) for path, leaf in leaves}
    return {**weights, 'mean': self.mean, 'scale': self.scale, 'spread': self.spread}

  @classmethod
  def restored(cls, shape: dict[str, Any], arrays: dict[str, np.ndarray]) -> 'ConvolutionCodec':
    """The codec that `shape` and `arrays` are of."""
    params: Params = {}
    for name, array in arrays.items():
      head, *path = name.split('/')
      if head == 'params':
        *parents, last = path
        functools.reduce(lambda node, part: node.setdefault(part, {}), parents, params)[last] = (
          array
        )
    kept = {name: arrays[name] for name in ('mean', 'scale', 'spread')}
    config = config_of(shape['config'])
    return cls(config, params, **kept, tile=shape['tile'], overlap=shape['overlap'])


def config_of(plain: dict[str, Any]) -> AutoencoderConfig:
  """The config that `dataclasses.asdict` and json made plain."""
  levels = {
    part: tuple(Level(x['width'], x['blocks'], tuple(x['stride'])) for x in plain[part])
    for part in ('encoder', 'decoder')
  }
  return AutoencoderConfig(**{**plain, **levels})


class _Coder:
  """What both directions share: pieces of time, tiles of space, and what each tile carries."""

  def __init__(self, codec: ConvolutionCodec, which: str):
    self._codec, self._run = codec, _coding(codec.config, which)
    self._carried: list[Any] | None = None  # one list of arrays a tile
    self._nothing: np.ndarray = np.zeros(0)

  def finish(self) -> np.ndarray:
    """Nothing is left."""
    return self._nothing

  def _code(self, x: np.ndarray, cell_in: int, cell_out: int) -> np.ndarray:
    """One piece [F, H, W, C], of which a latent is cell_in values to a side; out, cell_out."""
    plan = tiles(
      x.shape[1] // cell_in, x.shape[2] // cell_in, self._codec.tile, self._codec.overlap
    )
    before = self._carried or [None] * len(plan)
    made, self._carried = [], []
    for tile, carried in zip(plan, before):
      part = x[(slice(None), *tile.slices(cell_in))]
      with sharding.no_mesh():
        out, after = self._run(self._codec.params, part[None], carried)
      made.append((tile, np.asarray(out[0])))
      self._carried.append(after)
    return made[0][1] if len(made) == 1 else blend(made, cell_out, self._trusted())

  def _trusted(self) -> int:
    """How far from its edges a tile is not trusted, where there is overlap to spare."""
    return min(self._codec.config.reach, (self._codec.overlap - 1) // 2)

  def _latents_at_once(self, height: int, width: int) -> int:
    """Latent frames in a piece, of pictures of so many pixels."""
    stride, side = self._codec.config.stride, self._codec.tile
    tall, wide = min(height, side * stride[1]), min(width, side * stride[2])
    return max(PIECE_PIXELS // (tall * wide * stride[0]), 1)


class ConvolutionEncoder(_Coder):
  """Encodes a clip piece by piece; the latents are those of the whole."""

  def __init__(self, codec: ConvolutionCodec):
    super().__init__(codec, 'encode')

  def push(self, video: np.ndarray) -> np.ndarray:
    """The next frames uint8 [F, H, W, 3], 1 + n·stride_t at first and n·stride_t later → latents.

    Raises:
      UserError: a size that does not divide.
    """
    codec, t = self._codec, self._codec.config.stride[0]
    before = 1 if self._carried is not None and len(video) else 0
    size = codec.geometry.latent_size(len(video) + before, *video.shape[1:3])
    made = [np.zeros((0, *size[1:], codec.config.channels), np.float32)]
    start = 0
    while start < len(video):
      at_once = self._latents_at_once(*video.shape[1:3])
      frames = at_once * t - (t - 1) * (self._carried is None)
      piece = self._code(video[start : start + frames], codec.config.stride[1], 1)
      made.append((piece - codec.mean) / codec.scale)
      start += frames
    self._nothing = made[0]
    return np.concatenate(made)


class ConvolutionDecoder(_Coder):
  """Decodes a clip piece by piece; the pixels are those of the whole."""

  def __init__(self, codec: ConvolutionCodec):
    super().__init__(codec, 'decode')
    if not codec.config.causal_decoder:
      raise UserError('this decoder hears of later frames; decoding in pieces needs a causal one')

  def push(self, latents: np.ndarray) -> np.ndarray:
    """The next latents float32 [f, h, w, C] → pixels uint8."""
    codec, (_, y, x) = self._codec, self._codec.config.stride
    f, h, w, _ = latents.shape
    made = [np.zeros((0, h * y, w * x, 3), np.uint8)]
    at_once = self._latents_at_once(h * y, w * x)
    for start in range(0, f, at_once):
      piece = latents[start : start + at_once] * codec.scale + codec.mean
      pixels = self._code(piece.astype(np.float32), 1, y)
      made.append(np.rint(np.clip((pixels + 1) * 127.5, 0, 255)).astype(np.uint8))
    self._nothing = made[0]
    return np.concatenate(made)


@functools.cache
def _coding(config: AutoencoderConfig, which: str) -> Callable[..., tuple[jax.Array, list]]:
  """The jitted (params, piece [1, F, H, W, C], carried) → (coded, carried)."""

  def encode(params, pixels, carried):
    past = Past(carried)
    mean, _ = merged(config, params).encode(pixels.astype(np.float32) / 127.5 - 1, past)
    return mean, past.carried

  def decode(params, latents, carried):
    past = Past(carried)
    return merged(config, params).decode(latents, past), past.carried

  return jax.jit({'encode': encode, 'decode': decode}[which])
