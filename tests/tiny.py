"""The smallest networks, codecs, rows and sources that the laws are tested on."""

import contextlib
import functools
import hashlib
import unittest.mock
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from clips import make_clip
from flax import nnx

from sorajax.clip import Latents, Text, Tokens
from sorajax.codec import linear
from sorajax.codec.codec import Codec
from sorajax.data.records import Row
from sorajax.errors import UserError
from sorajax.geometry import NOTHING, samples_of
from sorajax.model.config import StreamConfig, TransformerConfig
from sorajax.model.transformer import Transformer
from sorajax.nn import param

FPS, RATE_HZ = 8.0, 8_000
CHANNELS = {'audio': 3, 'video': 5}
TEXT_WIDTH = 12
PATCH_VALUES = 2 * 4 * 4 * 3  # of a picture patch of the codec below
FRAME_VALUES = 2 * 40  # of a sound latent of the codec below


@contextlib.contextmanager
def refused(match: str) -> Iterator[None]:
  """Within, a `UserError` of one line that matches is raised."""
  with pytest.raises(UserError, match=match) as caught:
    yield
  assert '\n' not in str(caught.value)


def transformer(**changes: Any) -> TransformerConfig:
  """Two layers of width 16 and 24."""
  streams = {
    'video': StreamConfig(CHANNELS['video'], 24, 2, 12, 32, (4.0, 64.0, 64.0)),
    'audio': StreamConfig(CHANNELS['audio'], 16, 2, 8, 24, (4.0,)),
  }
  base = {'layers': 2, 'text_width': TEXT_WIDTH, 'cross_heads': 2, 'cross_head_dim': 6}
  return TransformerConfig(**{'streams': streams, 'rope_theta': 100.0, **base, **changes})


def initial(config: TransformerConfig) -> Any:
  """Initial parameters of a transformer, as plain dicts."""
  return nnx.to_pure_dict(nnx.state(Transformer(config, rngs=nnx.Rngs(0)), nnx.Param))


def noisy(init: Callable[[], Any], size: float = 0.2) -> Any:
  """Parameters of the shapes that `init` makes, none of them zero, so that every path is open."""
  rng = np.random.default_rng(0)

  def draw(path: Any, leaf: Any) -> np.ndarray:
    centre = float(jax.tree_util.keystr(path).endswith("norm']"))
    return (centre + size * rng.standard_normal(leaf.shape)).astype(np.float32)

  return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(init))


def wave(rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple, *, scale: float) -> nnx.Param:
  """Stands in for `param.normal`, whose many draws take seconds to compile."""
  value = scale * np.sqrt(2) * np.cos(np.arange(np.prod(shape)) ** 1.5).reshape(shape)
  return nnx.Param(jax.numpy.asarray(value, jax.numpy.float32))


initialised_by_waves = unittest.mock.patch.object(param, 'normal', wave)


@functools.cache
def parameters(config: TransformerConfig) -> Any:
  """Noisy parameters of a transformer."""
  return noisy(lambda: initial(config))


def apply(
  config: TransformerConfig, params: Any, tokens: dict[str, Tokens], text, joined=True, skip=()
):
  """The transformer as a plain function; `text` is (hidden, segment, shot)."""
  graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(config, rngs=nnx.Rngs(0))))
  return nnx.merge(graph, params)(tokens, *text, joined=joined, skip_layers=skip)


QUICKLY = {'xla_backend_optimization_level': 0, 'xla_llvm_disable_expensive_passes': True}
if jax.__version_info__ < (0, 11):  # later ones lack the option
  QUICKLY['xla_cpu_use_fusion_emitters'] = False
# Compiles in a third of the time, and runs slower.
quick_jit = functools.partial(jax.jit, compiler_options=QUICKLY)
run = quick_jit(apply, static_argnums=0, static_argnames=('joined', 'skip'))


def clip_tokens(number: int, modality: str) -> dict[str, np.ndarray]:
  """The tokens of clip `number`: what it holds depends on its number alone."""
  rng = np.random.default_rng([number, modality == 'video'])
  count = (4 if modality == 'video' else 3) + number % 2
  position = rng.uniform(0, 2, (count, 3)) * [1, 24, 24]
  return {
    'latent': rng.standard_normal((count, CHANNELS[modality])).astype(np.float32),
    'position': (position * ([1, 1, 1] if modality == 'video' else [1, 0, 0])).astype(np.float32),
    'sigma': rng.uniform(0.1, 1, count).astype(np.float32),
    'shot': rng.integers(0, 2, count).astype(np.int32),
  }


def pack(
  rows: Sequence[Sequence[int]], video: int = 12, audio: int = 9, text: int = 9
) -> tuple[dict[str, Tokens], tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Rows of clips, given by number, as tokens and encoded text; the rest is padding.

  Padding holds noise, which nothing may notice.
  """
  tokens = {}
  for m, length in (('audio', audio), ('video', video)):
    rng = np.random.default_rng(length)
    shape = (len(rows), length)
    fields = {
      'latent': rng.standard_normal((*shape, CHANNELS[m])).astype(np.float32),
      'position': rng.uniform(0, 2, (*shape, 3)).astype(np.float32),
      'sigma': rng.uniform(0, 1, shape).astype(np.float32),
      'segment': np.zeros(shape, np.int32),
      'shot': np.zeros(shape, np.int32),
      'loss_mask': np.zeros(shape, np.float32),
    }
    for b, row in enumerate(rows):
      for segment, (span, clip) in enumerate(_spans(row, m), start=1):
        for name, value in clip.items():
          fields[name][b, span] = value
        fields['segment'][b, span] = segment
        fields['loss_mask'][b, span] = 1
    tokens[m] = Tokens(**fields)
  return tokens, _pack_text(rows, text)


def _spans(row: Sequence[int], modality: str) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
  start = 0
  for number in row:
    clip = clip_tokens(number, modality)
    yield slice(start, start + len(clip['sigma'])), clip
    start += len(clip['sigma'])


def _pack_text(rows, length):
  rng = np.random.default_rng(1)
  hidden = rng.standard_normal((len(rows), length, TEXT_WIDTH)).astype(np.float32)
  segment, shot = (np.zeros((len(rows), length), np.int32) for _ in range(2))
  for b, row in enumerate(rows):
    start = 0
    for number, clip in enumerate(row, start=1):
      of_clip = np.random.default_rng([clip, 7])
      span = slice(start, start + 4)
      hidden[b, span] = of_clip.standard_normal((4, TEXT_WIDTH))
      segment[b, span], shot[b, span] = number, [0, 0, 1, 1]
      start += 4
  return hidden, segment, shot


def text_ids(rows: int, length: int = 8) -> Text:
  """Prompts of bytes: two clips a row, then padding."""
  ids = np.random.default_rng(2).integers(2, 258, (rows, length)).astype(np.int32)
  segment = np.broadcast_to(np.array([1, 1, 1, 2, 2, 2, 0, 0], np.int32)[:length], ids.shape)
  return Text(ids, np.ascontiguousarray(segment), np.zeros_like(ids))


CODEC = linear.LinearConfig(
  stride=(2, 4, 4), video_channels=8, frame_samples=40, group=2, audio_channels=6
)


def clips(count: int = 3, frames: int = 9, **changes: Any) -> list:
  """Moving clips of 8×12 pixels with sound."""
  sizes = {'size': (8, 12), 'fps': FPS, 'rate_hz': RATE_HZ, **changes}
  return [make_clip(frames, seed=seed, **sizes) for seed in range(count)]


@functools.cache
def codec(config: linear.LinearConfig = CODEC, audio_channels: int = 1) -> Codec:
  """A linear codec fitted on `clips`."""
  return linear.fit_linear(clips(channels=audio_channels), config, RATE_HZ, audio_channels)


class Source:
  """Latents in memory: what clip `number` holds depends on its number alone."""

  def __init__(self, frames: Sequence[int]):
    self.codec, self.beside = codec(), NOTHING
    self.rows = tuple(_row(number, count) for number, count in enumerate(frames))
    self.fingerprint = hashlib.sha256(repr(self.rows).encode()).hexdigest()[:16]

  def __len__(self) -> int:
    return len(self.rows)

  def __getitem__(self, number) -> tuple[Latents, str]:
    row, g = self.rows[number], self.codec.geometry
    rng = np.random.default_rng([number, 5])
    size = (*g.video.latent_size(row.frames, row.height, row.width), g.video.channels)
    video = rng.standard_normal(size).astype(np.float32)
    audio = rng.standard_normal((g.audio.latent_length(row.samples), g.audio.channels))
    latents = Latents(video, audio.astype(np.float32), row.fps, row.frames, row.samples)
    return latents, f'clip {number}'


def _row(number: int, frames: int) -> Row:
  samples = samples_of(frames, FPS, RATE_HZ)
  return Row(
    key=str(number), frames=frames, height=8, width=12, samples=samples, fps=FPS,
    sample_rate_hz=RATE_HZ, audio_channels=1, source='', start_s=0.0, caption_chars=6, bytes=1,
  )  # fmt: skip
