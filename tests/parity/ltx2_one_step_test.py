"""The one-step decoder against diffusers' LTX2VideoDiffusionDecoderModel on random weights."""

import itertools
import math

import jax
import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax.codec import one_step, one_step_codec, plain
from sorajax.codec.convolutional import ConvCodec
from sorajax.codec.one_step import OneStep
from sorajax.codec.one_step_codec import OneStepCodec
from sorajax.codec.video_config import HalfConfig, Stage, VideoConfig
from sorajax.weights import ltx2_one_step
from sorajax.weights.shards import Shards

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
pytest.importorskip('diffusers', reason=REASON)
from diffusers.models.autoencoders import ltx2_diffusion_decoder as theirs  # noqa: E402

EQUAL = 1e-5  # the largest difference ÷ the largest value


def options(seed: int) -> dict:
  """A small decoder with everything drawn by chance."""
  rng = np.random.default_rng(seed)
  pick = lambda *values: values[rng.integers(len(values))]
  stages, head_dim, patch = int(rng.integers(1, 4)), int(pick(8, 16, 24)), int(pick(1, 2, 4))
  factors = [int(pick(1, 2)) for _ in range(stages)]
  widths = [head_dim * int(pick(1, 2))]
  for factor in reversed(factors):
    widths.append(widths[-1] * factor)
  strides = [(int(pick(1, 2)), *[int(pick(1, 2))] * 2) for _ in range(stages)]
  strides[-1] = (2, 2, 2) if seed % 2 else strides[-1]
  window = lambda: tuple(int(rng.integers(1, 6)) for _ in range(3))
  return {
    'latent_channels': int(pick(3, 6)), 'patch_size': patch, 'decoder_head_dim': head_dim,
    'decoder_stage_channels': tuple(widths[::-1]),
    'decoder_stage_depths': tuple(int(rng.integers(1, 3)) for _ in range(stages + 1)),
    'decoder_stage_kernels': tuple(window() for _ in range(stages)),
    'decoder_upsample_strides': tuple(strides),
    'decoder_upsample_channel_reductions': tuple(factors),
    'decoder_stage5_kernel': window(),
    'decoder_t_emb_dim': int(pick(12, 24)),
    'decoder_timestep_scale_multiplier': float(pick(1.0, 1000.0)),
    'spatial_compression_ratio': patch * math.prod(s[1] for s in strides),
    'temporal_compression_ratio': math.prod(s[0] for s in strides),
  }  # fmt: skip


def both(seed: int, **changes):
  """The reference, and config and parameters of the same decoder."""
  torch.manual_seed(seed)
  reference = theirs.LTX2VideoDiffusionDecoderModel(**{**options(seed), **changes}).eval()
  for name, p in reference.named_parameters():
    matrix = p.ndim > 1 and 'table' not in name
    torch.nn.init.normal_(p, std=p[0].numel() ** -0.5 if matrix else 0.2)
    if 'norm' in name:
      p.data += 1
  config = ltx2_one_step.config_of(reference.config)
  return reference, config, ltx2_one_step.params_of(config, tensors_of(reference))


def tensors_of(reference) -> dict[str, np.ndarray]:
  return {name: t.detach().numpy() for name, t in reference.state_dict().items()}


def channels_first(x: np.ndarray):
  return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def apart(ours, reference) -> float:
  """The largest difference ÷ the largest value."""
  wanted = np.moveaxis(reference.numpy(), 1, -1)
  assert ours.shape == wanted.shape
  return np.abs(np.asarray(ours) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize('seed', range(10))
def test_pixels_of_the_same_noise_are_equal(seed, monkeypatch):
  reference, config, params = both(seed)
  rng = np.random.default_rng(seed)
  latents = rng.standard_normal((2, *[n + i % 2 for i, n in enumerate(config.least)], 1))
  latents = rng.standard_normal((*latents.shape[:4], config.channels)).astype(np.float32)
  frames, height, width = (
    config.geometry.pixel_frames(latents.shape[1]),
    *(n * s for n, s in zip(latents.shape[2:4], config.geometry.stride[1:])),
  )
  noise = rng.standard_normal((2, frames, height, width, 3)).astype(np.float32)
  monkeypatch.setattr(theirs, 'randn_tensor', lambda shape, **_: channels_first(noise))
  with torch.no_grad():
    wanted = reference.decode(channels_first(latents)).sample
  run = jax.jit(lambda p, x, n: plain.joined(OneStep, config, p)(x, n))
  assert apart(run(params, latents, noise), wanted) <= EQUAL


def test_ltx25_has_the_reference_s_parameters():
  with torch.device('meta'):
    reference = theirs.LTX2VideoDiffusionDecoderModel()
  config = one_step.ltx25()
  assert ltx2_one_step.config_of(reference.config) == config
  assert ltx2_one_step.shapes_of(config) == {
    name: tuple(t.shape) for name, t in reference.state_dict().items()
  }
  count = sum(p.numel() for p in reference.parameters())
  assert ltx2_one_step.parameters(config) == count == 417_133_616
