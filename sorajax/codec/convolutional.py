"""Pictures through a trained convolutional autoencoder, on the host, a chunk at a time."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from sorajax import sharding
from sorajax.codec import plain, statistics, video, video_config
from sorajax.codec.tiles import Tiled, Tiling
from sorajax.codec.video_config import VideoConfig
from sorajax.errors import UserError
from sorajax.geometry import VideoGeometry

CHUNK = 4  # latent frames coded at once
STATISTICS = ('mean', 'scale', 'spread')
State = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ConvCodec:
  """uint8 [F, H, W, 3] ↔ float32 [f, h, w, C].

  Attributes:
    config: the autoencoder's size.
    params: of both halves, as `video.init` makes them, or of the encoder alone.
    mean: float32 [C], taken from the autoencoder's latents.
    scale: float32 [C], by which they are then divided.
    spread: float32 [C], the standard deviation of the result, measured on data.
    chunk: latent frames coded at once.
    tiling: how large pictures are cut; None for no cut.
  """

  kind: ClassVar[str] = 'convolutional'
  config: VideoConfig
  params: video.Params
  mean: np.ndarray
  scale: np.ndarray
  spread: np.ndarray
  chunk: int = CHUNK
  tiling: Tiling | None = None

  @property
  def geometry(self) -> VideoGeometry:
    return self.config.geometry

  @property
  def decodes(self) -> bool:
    """Whether it has a decoder."""
    return 'decoder' in self.params

  def encoder(self) -> 'ConvEncoder':
    """Codes a clip piece by piece."""
    return ConvEncoder(self)

  def decoder(self) -> 'ConvDecoder':
    """Decodes a clip piece by piece."""
    return ConvDecoder(self)

  def encode(self, pixels: np.ndarray) -> np.ndarray:
    """A whole clip to latents.

    Args:
      pixels: uint8 [F, H, W, 3], or floats in [-1, 1]; F is 0 or 1 + n·stride_t.

    Raises:
      UserError: a size that does not divide, or pixels that are none.
    """
    encoder = self.encoder()
    return np.concatenate([encoder.push(pixels), encoder.finish()])

  def decode(self, latents: np.ndarray) -> np.ndarray:
    """A whole clip's latents float32 [f, h, w, C] to pixels.

    Raises:
      UserError: another number of channels, or values that are not finite.
    """
    decoder = self.decoder()
    return np.concatenate([decoder.push(latents), decoder.finish()])

  def shape(self) -> dict[str, Any]:
    """All but the arrays, fit for json."""
    tiling = dataclasses.asdict(self.tiling) if self.tiling else None
    return {'config': dataclasses.asdict(self.config), 'chunk': self.chunk, 'tiling': tiling}

  def arrays(self) -> dict[str, np.ndarray]:
    """All arrays by name, to be saved in one flat file."""
    return {**plain.flat(self.params), **{name: getattr(self, name) for name in STATISTICS}}

  @classmethod
  def restored(cls, shape: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> 'ConvCodec':
    """The codec that `shape` and `arrays` describe; `UserError` where an array does not fit."""
    config = video_config.from_dict(shape['config'])
    tiling = shape['tiling'] and Tiling(tuple(shape['tiling']['size']), shape['tiling']['overlap'])
    missing = [name for name in STATISTICS if name not in arrays]
    if missing:
      raise UserError(f'the codec lacks the array {missing[0]} of its latents; save it again')
    params = {name: array for name, array in arrays.items() if name not in STATISTICS}
    kept = {name: arrays[name] for name in STATISTICS}
    halves = video.shapes(config)
    if not any(name.startswith('decoder') for name in params):
      del halves['decoder']
    weights = plain.unflat(params, halves)
    return cls(config, weights, **kept, chunk=shape['chunk'], tiling=tiling)


def measured(
  config: VideoConfig, params: video.Params, videos: Iterable[np.ndarray], chunk: int = CHUNK
) -> ConvCodec:
  """A codec whose latents have mean 0 and mean square 1 on clips uint8 [F, H, W, 3].

  Raises:
    UserError: the clips hold no pictures.
  """
  one = statistics.unmeasured(config.channels)
  raw = ConvCodec(config, params, one.mean, one.scale, one.spread, chunk)
  found = statistics.measured((raw.encode(pixels) for pixels in videos), config.channels)
  return dataclasses.replace(raw, **vars(found))


class ConvEncoder:
  """Encodes a clip piece by piece; the latents are those of the whole."""

  def __init__(self, codec: ConvCodec):
    half, (t, y, x) = codec.config.encoder, codec.geometry.stride
    reach = video_config.encoder_reach(codec.config)
    tiled = Tiled(self._step, codec.tiling, reach, ((y, x), (1, 1)))
    self._codec, self._stream = codec, _Stream(tiled, 1, t, codec.chunk, half.causal)
    self._size, self._frames = (0, 0), 0
    self._params = sharding.everywhere(codec.params['encoder'])

  def push(self, pixels: np.ndarray) -> np.ndarray:
    """The next frames, uint8 [F', H, W, 3] of any count → the latents that they complete."""
    _check_pixels(pixels)
    self._size = self._codec.geometry.latent_size(1, *pixels.shape[1:3])[1:]
    latents = self._joined(self._stream.push(pixels))
    self._frames += len(pixels)
    return latents

  def finish(self) -> np.ndarray:
    """The latents that are left; `UserError` where the frames do not fill the last one."""
    h, w = self._size
    if self._frames:
      _, y, x = self._codec.geometry.stride
      self._codec.geometry.latent_size(self._frames, h * y, w * x)
    return self._joined(self._stream.finish())

  def state(self) -> State:
    """All that `resume` needs to go on in another process."""
    return {'size': np.asarray((*self._size, self._frames)), **self._stream.state()}

  def resume(self, state: State) -> None:
    """Goes on from what `state` gave; the codec must be the same."""
    h, w, self._frames = state['size'].tolist()
    self._size = h, w
    self._stream.resume(state)

  def _step(self, pixels, carried, last):
    c = self._codec
    statistics = (c.mean, c.scale)
    return encode_next(c.config, self._params, statistics, pixels, carried, last=last)

  def _joined(self, parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros((0, *self._size, self._codec.config.channels), 'f4'), *parts])


class ConvDecoder:
  """Decodes latents piece by piece; the frames are those of the whole.

  A decoder that is not causal gives its first frames after `video_config.decoder_lead` latents.
  """

  def __init__(self, codec: ConvCodec):
    half, (_, y, x) = codec.config.decoder, codec.geometry.stride
    reach, lead = video_config.decoder_reach(codec.config), video_config.decoder_lead(half)
    tiled = Tiled(self._step, codec.tiling, reach, ((1, 1), (y, x)))
    self._codec, self._stream = codec, _Stream(tiled, lead, 1, codec.chunk, half.causal)
    self._size = (0, 0)
    self._params = sharding.everywhere(codec.params['decoder'])

  def push(self, latents: np.ndarray) -> np.ndarray:
    """The next latents, float32 [f', h, w, C] → the frames uint8 [F', H, W, 3] they complete."""
    _, y, x = self._codec.geometry.stride
    check_latents(latents, self._codec.config.channels)
    self._size = latents.shape[1] * y, latents.shape[2] * x
    return self._joined(self._stream.push(np.asarray(latents, np.float32)))

  def finish(self) -> np.ndarray:
    """The frames that are left."""
    return self._joined(self._stream.finish())

  def state(self) -> State:
    """All that `resume` needs to go on in another process."""
    return {'size': np.asarray(self._size), **self._stream.state()}

  def resume(self, state: State) -> None:
    """Goes on from what `state` gave; the codec must be the same."""
    h, w = state['size'].tolist()
    self._size = h, w
    self._stream.resume(state)

  def _step(self, latents, carried, last):
    c = self._codec
    statistics = (c.mean, c.scale)
    return decode_next(c.config, self._params, statistics, latents, carried, last=last)

  def _joined(self, parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros((0, *self._size, 3), np.uint8), *map(as_bytes, parts)])


class _Stream:
  """Cuts what is pushed into runs of few shapes, since each shape is compiled."""

  def __init__(self, tiled: Tiled, first: int, unit: int, most: int, causal: bool):
    """Runs of `first` + k·unit frames (0 ≤ k < most), then of k·unit (1 ≤ k ≤ most)."""
    self._tiled, self._causal = tiled, causal
    self._first, self._unit, self._most = first, unit, most
    self._held: np.ndarray | None = None
    self._begun = False

  def push(self, x: np.ndarray) -> Iterator[np.ndarray]:
    held = self._held
    if held is not None and (held.shape[1:], held.dtype) != (x.shape[1:], x.dtype):
      was, now = (f'{a.dtype} {a.shape[1:]}' for a in (held, x))
      raise UserError(f'frames of {now} follow frames of {was}; begin a stream for each clip')
    self._held = x if held is None else np.concatenate([held, x])
    while count := self._ready():
      yield self._run(count, last=False)

  def finish(self) -> Iterator[np.ndarray]:
    left = 0 if self._held is None else len(self._held)
    if left or (self._begun and not self._causal):
      yield self._run(left, last=True)

  def state(self) -> State:
    held = {} if self._held is None else {'held': self._held}
    tiles = {f'tile/{name}': array for name, array in self._tiled.state().items()}
    return {'begun': np.asarray(self._begun), **held, **tiles}

  def resume(self, state: State) -> None:
    self._begun, self._held = bool(state['begun']), state.get('held')
    tiles = {n.removeprefix('tile/'): a for n, a in state.items() if n.startswith('tile/')}
    self._tiled.resume(tiles)

  def _ready(self) -> int:
    assert self._held is not None
    least = 0 if self._begun else self._first
    if len(self._held) < least:
      return 0
    return least + self._unit * min(
      (len(self._held) - least) // self._unit, self._most - (0 if self._begun else 1)
    )

  def _run(self, count: int, last: bool) -> np.ndarray:
    assert self._held is not None
    x, self._held, self._begun = self._held[:count], self._held[count:], True
    return self._tiled.push(x, last)


@functools.partial(jax.jit, static_argnames=('config', 'last'))
def encode_next(config, params, statistics, pixels, carried, *, last):
  """Frames [B, F, H, W, 3] → normalised latents [B, f, h, w, C], and what the next chunk needs."""
  x = pixels.astype(jnp.float32)
  x = x / 127.5 - 1 if pixels.dtype == jnp.uint8 else x
  run = video.encode_chunk
  (mean, _), left = run(config, {'encoder': params}, x, carried, last=last)
  return (mean - statistics[0]) / statistics[1], left


@functools.partial(jax.jit, static_argnames=('config', 'last'))
def decode_next(config, params, statistics, latents, carried, *, last):
  """The inverse of `encode_next`, to pixels in about [-1, 1]."""
  x = latents * statistics[1] + statistics[0]
  return video.decode_chunk(config, {'decoder': params}, x, carried, last=last)


def _check_pixels(pixels: np.ndarray) -> None:
  floats = np.issubdtype(pixels.dtype, np.floating)
  if not (floats or pixels.dtype == np.uint8) or pixels.ndim != 4 or pixels.shape[3] != 3:
    raise UserError(f'the picture is {pixels.dtype} {pixels.shape}; give uint8 [F, H, W, 3]')
  if not floats or not pixels.size:
    return
  _check_finite('the picture holds', pixels)
  low, high = pixels.min(), pixels.max()
  if low < -1 or high > 1:
    raise UserError(f'float pixels reach from {low:g} to {high:g}; bring them to -1 to 1')


def as_bytes(pixels: np.ndarray) -> np.ndarray:
  """Floats in about [-1, 1] → uint8."""
  return np.rint(np.clip((pixels + 1) * 127.5, 0, 255)).astype(np.uint8)


def check_latents(latents: np.ndarray, channels: int) -> None:
  """`UserError` unless they are finite [f, h, w, C] of so many channels."""
  if latents.ndim != 4 or latents.shape[3] != channels:
    raise UserError(f'the latents are {latents.shape} and the codec takes [f, h, w, {channels}]')
  _check_finite('the latents hold', latents)


def _check_finite(what: str, values: np.ndarray) -> None:
  bad = values.size - np.count_nonzero(np.isfinite(values))
  if bad:
    raise UserError(f'{what} {bad} values of {values.size} that are not finite; read them again')
