"""A program for `tiles_test`: on four devices made of one CPU, prints what it finds as json."""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import jax
import numpy as np
import tiny
from clips import scene

from sorajax import sharding
from sorajax.clip import Clip
from sorajax.codec import convolutional, video
from sorajax.codec.codec import Codec
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.tiles import Tiling
from sorajax.codec.video_config import HalfConfig, Shift, Stage, VideoConfig, compact
from sorajax.data import stored
from sorajax.generate import film
from sorajax.media import reader, writer

CAUSAL = VideoConfig(
  3, 2,
  HalfConfig(4, (Stage((2, 2, 2), 8, 0),), 0),
  HalfConfig(8, (Stage((2, 2, 2), 8, 1),), 0),
)  # fmt: skip
CENTRED = dataclasses.replace(
  CAUSAL, decoder=dataclasses.replace(CAUSAL.decoder, causal=False, padding='reflect')
)
SHIFTING = compact((2, 4, 4), 3, (8, 8), patch=2, kernels=Shift(2))
EDGE = dataclasses.replace(CAUSAL, decoder=dataclasses.replace(CAUSAL.decoder, padding='edge'))
TILING = Tiling((8, 12), 6)  # 3 × 2 tiles of 12 × 16 latents, which do not divide over 4 devices
LATENTS = 4, 12, 16
ran: list[list[tuple]] = []  # of every step, what each device holds of each array


def where(shape: tuple[int, ...], shard) -> tuple[int, int, int, float]:
  """The device, its first clip, how many, and the part of the picture's height above its rows."""
  clip, _, rows, *_ = shard.index
  return shard.device.id, clip.start or 0, len(shard.data), (rows.start or 0) / shape[2]


def watched(name: str):
  """The step of that name, which notes where its arrays lie."""
  run = tiny.quick_jit(getattr(convolutional, name).__wrapped__, static_argnames=('config', 'last'))

  def step(*args, **kwargs):
    made, left = run(*args, **kwargs)
    for array in (made, *(a for a in left if a is not None and a.size)):
      ran.append([where(array.shape, s) for s in array.addressable_shards])
    return made, left

  return step


def codec(config: VideoConfig) -> ConvCodec:
  """Tiled, a latent frame at a time, with noisy parameters."""
  params = tiny.noisy(lambda: video.init(config, jax.random.key(0)))
  one = np.ones(3, np.float32)
  return ConvCodec(config, params, 0 * one, one, one, chunk=1, tiling=TILING)


def streamed(make, pieces: list[np.ndarray], meshes: tuple) -> np.ndarray:
  """What a coder gives that is put away after each piece, and goes on on another mesh."""
  made, state = [], None
  for i, (piece, mesh) in enumerate(zip(pieces, meshes, strict=True)):
    with jax.set_mesh(mesh) if mesh else contextlib.nullcontext():
      coder = make()
      if state is not None:
        coder.resume(state)
      made.append(coder.push(piece))
      if i == len(pieces) - 1:
        made.append(coder.finish())
      state = {name: np.asarray(a) for name, a in coder.state().items()}
  return np.concatenate(made)


def filmed(folder: Path) -> dict:
  """A film with its sound there and back, in tiles."""
  film.TILE = 12
  whole = Codec(dataclasses.replace(codec(CAUSAL), tiling=None), tiny.codec().audio)
  pixels = scene(0, 7, 48, 80)
  sound = np.zeros((7 * tiny.RATE_HZ // 8, 1), np.float32)
  writer.write(folder / 'in.mp4', Clip(pixels, sound, tiny.FPS, tiny.RATE_HZ), crf=0)
  ran.clear()
  film.encode_film(folder / 'in.mp4', whole, folder / 'latents')
  encoded = len(ran)
  film.decode_film(folder / 'latents', folder / 'out.mp4')
  held = list(ran)
  wanted = whole.video.encode(reader.read(folder / 'in.mp4').video)
  made = stored.open_film(folder / 'latents').latents.video
  return {
    'apart': float(np.abs(made - wanted).max() / max(float(np.abs(wanted).max()), 1)),
    'held': held,
    'steps': [encoded, len(held) - encoded],
    'frames': len(reader.read(folder / 'out.mp4').video),
  }


def main() -> None:
  for name in ('encode_next', 'decode_next'):
    setattr(convolutional, name, watched(name))
  found = {}
  with tempfile.TemporaryDirectory() as folder:
    found['film'] = filmed(Path(folder))
  unrounded = lambda self, parts: np.concatenate([np.zeros((0, *self._size, 3), 'f4'), *parts])
  convolutional.ConvDecoder._joined = unrounded
  mesh = sharding.make_mesh(sharding.MeshConfig())
  _, h, w = LATENTS
  pixels = scene(0, 7, 4 * h, 4 * w)
  latents = np.random.default_rng(0).standard_normal((*LATENTS, 3)).astype(np.float32)
  whole = lambda config: dataclasses.replace(codec(config), tiling=None)
  square, row = sharding.make_mesh(sharding.MeshConfig(2, 2)), mesh
  for name, make, given, cuts in (
    ('encode', codec(CAUSAL).encoder, pixels, (3,)),
    ('decode', codec(CAUSAL).decoder, latents, (2,)),
    ('decode, centred', codec(CENTRED).decoder, latents, (2,)),
    ('encode, whole', whole(CAUSAL).encoder, pixels, (3,)),
    ('decode, whole', whole(CAUSAL).decoder, latents, (2,)),
    ('decode, centred, whole', whole(CENTRED).decoder, latents, (2,)),
    ('decode, edge, whole', whole(EDGE).decoder, latents, (2,)),
    ('encode, shifting, whole', whole(SHIFTING).encoder, pixels, (3,)),
    ('decode, shifting, whole', whole(SHIFTING).decoder, latents, (2,)),
    ('decode, centred, halves', whole(CENTRED).decoder, latents[:, :10], (2,)),
    ('decode, shifting, halves', whole(SHIFTING).decoder, latents[:, :10], (2,)),
  ):
    mesh, pieces = square if 'halves' in name else row, np.split(given, cuts)
    alone = streamed(make, pieces, (None, None))
    ran.clear()
    together = streamed(make, pieces, (mesh, mesh))
    held = list(ran)
    moved = [streamed(make, pieces, meshes) for meshes in ((mesh, None), (None, mesh))]
    scale = max(float(np.abs(alone).max()), 1)
    found[name] = {
      'apart': float(np.abs(together - alone).max() / scale),
      'moved': [float(np.abs(m - alone).max() / scale) for m in moved],
      'held': held,
    }
  print(json.dumps(found))


if __name__ == '__main__':
  main()
