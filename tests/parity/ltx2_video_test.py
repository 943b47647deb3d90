"""The video autoencoder against diffusers' AutoencoderKLLTX2Video on the same random weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import refused

from sorajax.codec import video, video_config
from sorajax.weights import ltx2_video

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
AutoencoderKLLTX2Video = pytest.importorskip('diffusers', reason=REASON).AutoencoderKLLTX2Video


def options(seed: int) -> dict:
  """A small autoencoder with everything drawn by chance."""
  rng = np.random.default_rng(seed)
  pick = lambda *values: values[rng.integers(len(values))]
  stages = int(rng.integers(1, 3))
  kinds = [str(pick('spatial', 'temporal', 'spatiotemporal')) for _ in range(stages)]
  halving = bool(rng.integers(2))  # an upsampler that halves channels needs widths that do
  widths = [8 * 2**i for i in range(stages)] if halving else [pick(8, 16) for _ in range(stages)]
  return {
    'latent_channels': 8,
    'block_out_channels': tuple(16 * 2**i for i in range(stages)),
    'down_block_types': ('LTX2VideoDownBlock3D',) * stages,
    'decoder_block_out_channels': tuple(int(w) * (2 if halving else 1) for w in widths),
    'layers_per_block': tuple(int(rng.integers(1, 3)) for _ in range(stages + 1)),
    'decoder_layers_per_block': tuple(int(rng.integers(1, 3)) for _ in range(stages + 1)),
    'spatio_temporal_scaling': (True,) * stages,
    'decoder_spatio_temporal_scaling': (True,) * stages,
    'decoder_inject_noise': (False,) * (stages + 1),
    'downsample_type': tuple(kinds),
    'upsample_type': tuple(kinds[::-1]),
    'upsample_residual': tuple(halving or bool(rng.integers(2)) for _ in range(stages)),
    'upsample_factor': (2 if halving else 1,) * stages,
    'patch_size': pick(1, 2, 4),
    'encoder_causal': bool(rng.integers(4)),
    'decoder_causal': bool(rng.integers(2)),
    'encoder_spatial_padding_mode': pick('zeros', 'reflect', 'replicate'),
    'decoder_spatial_padding_mode': pick('zeros', 'reflect', 'replicate'),
  }


def both(seed: int):
  """The reference and (config, parameters) of the same autoencoder."""
  torch.manual_seed(seed)
  reference = AutoencoderKLLTX2Video(**options(seed))
  for parameter in reference.parameters():
    torch.nn.init.normal_(parameter, std=min(1.5 / math.sqrt(max(parameter[0].numel(), 9)), 0.5))
  config = ltx2_video.config_of(reference.config)
  tensors = {name: t.detach().numpy() for name, t in reference.state_dict().items()}
  return reference, config, ltx2_video.params_of(config, tensors)


def apart(ours, theirs) -> float:
  """The largest difference ÷ the largest value."""
  ours, theirs = np.asarray(ours), theirs.detach().numpy()
  assert ours.shape == theirs.shape
  return np.abs(ours - theirs).max() / np.abs(theirs).max()


def torch_order(x: np.ndarray):
  return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 4, 1, 2, 3)))


@pytest.mark.parametrize('seed', range(8))
def test_values_and_gradients_equal_the_reference(seed):
  reference, config, params = both(seed)
  rng = np.random.default_rng(seed)
  t, y, x = config.geometry.stride
  pixels = rng.uniform(-1, 1, (2, 1 + 2 * t, 3 * y, 2 * x, 3)).astype(np.float32)
  latents = rng.standard_normal((2, 3, 3, 2, 8)).astype(np.float32)
  weight = rng.standard_normal(pixels.shape).astype(np.float32)

  def run(params, pixels, latents):
    mean, log_variance = video.encode(config, params, pixels)
    decoded = video.decode(config, params, latents)
    objective = (mean**2).sum() + (log_variance[..., :1] ** 2).sum() + (decoded * weight).sum()
    return objective, (mean, log_variance, decoded)

  ours = tiny.quick_jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))
  (_, (mean, log_variance, decoded)), slopes = ours(params, pixels, latents)

  inputs = [torch_order(a).requires_grad_() for a in (pixels, latents)]
  hidden = reference.encoder(inputs[0])
  wanted = reference.decoder(inputs[1])
  channels_last = lambda a: a.permute(0, 2, 3, 4, 1)
  assert apart(mean, channels_last(hidden[:, :8])) <= 1e-5
  assert apart(log_variance, channels_last(hidden[:, 8:])) <= 1e-5
  assert apart(decoded, channels_last(wanted)) <= 1e-5

  ((hidden[:, :9] ** 2).sum() + (wanted * torch_order(weight)).sum()).backward()
  for slope, given in zip(slopes[1:], inputs):
    assert apart(slope, channels_last(given.grad)) <= 1e-4
  gradients = {n: p.grad.numpy() for n, p in reference.named_parameters()}
  theirs = ltx2_video.params_of(config, gradients)
  for a, b in zip(jax.tree.leaves(slopes[0]), jax.tree.leaves(theirs)):
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


def test_ltx2_has_the_reference_s_parameters():
  with torch.device('meta'):
    reference = AutoencoderKLLTX2Video(decoder_causal=False)
  config = video_config.ltx2()
  assert ltx2_video.config_of(reference.config) == config
  params = jax.eval_shape(lambda: video.init(config, jax.random.key(0)))
  shapes = {path: leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
  wanted = {name: tuple(p.shape) for name, p in reference.named_parameters()}
  names = dict(ltx2_video.tensor_names(params))
  assert sorted(names.values()) == sorted(wanted)
  for path, name in names.items():
    assert sorted(shapes[path]) == sorted(wanted[name]), name
  assert sum(map(math.prod, shapes.values())) == sum(map(math.prod, wanted.values()))
  assert jnp.dtype('float32') == jax.tree.leaves(params)[0].dtype


@pytest.mark.parametrize('seed', [4, 1])
def test_a_checkpoint_is_a_codec(seed):
  reference, config, _ = both(seed)
  rng = np.random.default_rng(seed)
  reference.latents_mean.copy_(torch.from_numpy(rng.standard_normal(8)))
  reference.latents_std.copy_(torch.from_numpy(rng.uniform(0.5, 2, 8)))
  tensors = {name: t.detach().numpy() for name, t in reference.state_dict().items()}
  codec = ltx2_video.codec_of(reference.config, tensors)
  t, y, x = config.geometry.stride
  pixels = rng.integers(0, 256, (1 + 2 * t, 3 * y, 2 * x, 3), np.uint8)
  with torch.no_grad():
    mode = reference.encode(torch_order(pixels[None] / np.float32(127.5) - 1)).latent_dist.mode()
    mean, deviation = (
      s[:, None, None, None] for s in (reference.latents_mean, reference.latents_std)
    )
    latents = (mode[0] - mean) / deviation * reference.config.scaling_factor
    made = reference.decode(mode).sample[0]
  channels_last = lambda a: a.permute(1, 2, 3, 0)
  ours = codec.encode(pixels)
  assert apart(ours, channels_last(latents)) <= 1e-5
  wanted = np.rint(np.clip((channels_last(made).numpy() + 1) * 127.5, 0, 255))
  assert np.abs(codec.decode(ours) - wanted).max() <= 1


@pytest.mark.parametrize(
  'change, message',
  [
    ({'timestep_conditioning': True}, 'timestep_conditioning=True, which this project does not'),
    ({'patch_size_t': 2}, 'patch_size_t=2; only 1'),
    ({'downsample_type': ('conv',)}, "changes its size by \\['conv'\\]"),
    ({'spatio_temporal_scaling': False}, 'spatio_temporal_scaling is \\[False'),
  ],
)
def test_options_that_are_unknown_are_refused(change, message):
  saved = {**AutoencoderKLLTX2Video(**options(1)).config, **change}
  with refused(message):
    ltx2_video.config_of(saved)


def test_tensors_that_do_not_fit_are_refused():
  reference, config, _ = both(1)
  tensors = {name: t.detach().numpy() for name, t in reference.state_dict().items()}
  name = 'encoder.conv_out.conv.bias'
  with refused(f'lacks {name} of'):
    ltx2_video.params_of(config, {n: t for n, t in tensors.items() if n != name})
  with refused(rf'{name} gives \(3,\) and the autoencoder needs \(9,\)'):
    ltx2_video.params_of(config, {**tensors, name: np.zeros(3)})
  with refused('1 tensors have no place in the autoencoder, as decoder.strange'):
    ltx2_video.params_of(config, {**tensors, 'decoder.strange': np.zeros(3)})
