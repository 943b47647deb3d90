"""The smallest one-step decoder that has all its parts, on an encoder of the same latents."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tiny

from sorajax.codec import one_step_codec, plain, video_config
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.one_step import OneStep, OneStepConfig, Stage
from sorajax.codec.one_step_codec import OneStepCodec
from sorajax.codec.video_config import HalfConfig, VideoConfig

CONFIG = OneStepConfig(
  3, (Stage(16, 1, (3, 3, 2), (2, 2, 2)), Stage(8, 1, (3, 3, 3), (2, 2, 2))), 8, 1, (5, 3, 4),
  patch=2, head_dim=8, level_width=8,
)  # fmt: skip
TILE, STEP = (12, 24, 32), (10, 16, 24)


@functools.cache
def params(config: OneStepConfig = CONFIG) -> plain.Params:
  """Noisy parameters."""
  return tiny.noisy(lambda: plain.initial(OneStep, config, jax.random.key(0)))


def base(config: OneStepConfig = CONFIG) -> ConvCodec:
  """An encoder with statistics of its own; nothing of it is decoded or encoded."""
  t, y, x = config.geometry.stride
  stage = video_config.Stage((t, y // 2, x // 2), t * y * x // 4, 0)
  half = HalfConfig(math.prod(stage.stride), (stage,), 0)
  statistics = np.random.default_rng(7).uniform(0.5, 1.5, (3, config.channels))
  return ConvCodec(VideoConfig(config.channels, 2, half, half), {}, *statistics.astype(np.float32))


def codec(config: OneStepConfig = CONFIG, weights: Any = None, **changes: Any) -> OneStepCodec:
  """The decoder on that encoder."""
  weights = params(config) if weights is None else weights
  return OneStepCodec(base(config), config, weights, **changes)


def prepare(replace: Callable[[Any, str, Any], None]) -> None:
  """Has pixels left as floats, and programs compiled quickly; `replace` is as `setattr`."""
  replace(one_step_codec, 'as_bytes', lambda pixels: pixels)
  for name, static in (('_features', ('ends',)), ('_pixels', ('canvas', 'begins', 'ends'))):
    bare = getattr(one_step_codec, name).__wrapped__
    replace(one_step_codec, name, tiny.quick_jit(bare, static_argnames=('config', *static)))


def latents(*size: int, channels: int = CONFIG.channels) -> np.ndarray:
  return np.random.default_rng(5).standard_normal((*size, channels)).astype(np.float32)
