"""The audio autoencoder and the vocoders against diffusers' on the same weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sorajax.codec import plain
from sorajax.codec.audio import Autoencoder, AutoencoderConfig
from sorajax.codec.past import Past
from sorajax.codec.vocoder import (
  Vocoder,
  VocoderConfig,
  WideConfig,
  WideVocoder,
  flattened,
)
from sorajax.weights import ltx2_audio

pytestmark = pytest.mark.parity

SEEDS = range(3)
FORWARD, GRADIENT = 1e-5, 1e-4


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason="needs pip install 'sorajax[parity]'")


@pytest.fixture(scope='module')
def reference(torch):
  """The module that holds diffusers' classes."""
  reason = "needs pip install 'sorajax[parity]'"
  pytest.importorskip('diffusers', reason=reason)
  from diffusers.models.autoencoders import autoencoder_kl_ltx2_audio
  from diffusers.pipelines.ltx2 import vocoder

  return {
    'autoencoder': autoencoder_kl_ltx2_audio.AutoencoderKLLTX2Audio,
    'vocoder': vocoder.LTX2Vocoder,
    'wide': vocoder.LTX2VocoderWithBWE,
  }


def relative(made, wanted) -> float:
  made, wanted = np.asarray(made, np.float64), np.asarray(wanted, np.float64)
  assert made.shape == wanted.shape
  return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))


def randomise(torch, model, seed: int, gain: float = 1.5) -> dict[str, np.ndarray]:
  """Draws every parameter, none of them zero; returns all tensors."""
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, p in model.named_parameters():
      noise = torch.randn(p.shape, generator=generator)
      if p.ndim > 1:
        noise = gain * noise * (p[0].numel() ** -0.5)
      elif 'norm' in name and name.endswith('weight'):
        noise = 1 + 0.2 * noise
      else:
        noise = 0.2 * noise
      p.copy_(noise)
  return {name: t.detach().numpy() for name, t in model.state_dict().items()}


def count(shapes, without: tuple[str, ...] = ()) -> int:
  flat = jax.tree_util.tree_leaves_with_path(shapes)
  held = [leaf for path, leaf in flat if not jax.tree_util.keystr(path).endswith(without)]
  return sum(int(np.prod(leaf.shape)) for leaf in held)


def autoencoder_case(seed: int) -> tuple[AutoencoderConfig, dict]:
  rng = np.random.default_rng(seed)
  levels = int(rng.integers(2, 4))
  causal, attends = seed % 3 != 2, bool(seed % 2)
  c = AutoencoderConfig(
    audio_channels=int(rng.integers(1, 3)),
    mels=16,
    latent_channels=int(rng.integers(2, 5)),
    width=32,
    multipliers=tuple(int(m) for m in rng.integers(1, 3, levels)),
    blocks=int(rng.integers(1, 3)),
    attention_levels=(levels - 1,) if attends else (),
    middle_attention=attends or not causal,
    norm='pixel' if causal else 'group',
    groups=32,
    causal=causal,
  )
  theirs = {
    'base_channels': c.width,
    'output_channels': c.audio_channels,
    'in_channels': c.audio_channels,
    'ch_mult': c.multipliers,
    'num_res_blocks': c.blocks,
    'attn_resolutions': [c.mels // 2**i for i in c.attention_levels] or None,
    'resolution': c.mels,
    'latent_channels': c.latent_channels,
    'norm_type': c.norm,
    'causality_axis': 'height' if c.causal else 'none',
    'mid_block_add_attention': c.middle_attention,
    'mel_bins': c.mels,
  }
  return c, theirs


def check_gradients(torch, model, loss, made, gradient):
  """Compares the gradient of every parameter with that of torch, as one vector."""
  loss.backward()
  theirs = {
    n: (torch.zeros_like(p) if p.grad is None else p.grad).numpy()
    for n, p in model.named_parameters()
  }
  buffers = {n: np.zeros_like(b.numpy()) for n, b in model.named_buffers()}
  wanted = plain.flat(gradient({**theirs, **buffers}))
  got = plain.flat(made)
  square = lambda x: float(np.square(x.astype(np.float64)).sum())
  error = sum(square(got[n] - wanted[n]) for n in wanted)
  assert np.sqrt(error / sum(square(w) for w in wanted.values())) <= GRADIENT


@pytest.mark.parametrize('seed', SEEDS)
def test_autoencoder(torch, reference, seed):
  c, theirs = autoencoder_case(seed)
  model = reference['autoencoder'](**theirs).eval()
  params = ltx2_audio.autoencoder(randomise(torch, model, seed), c)
  frames = 4 * c.stride + (1 if c.causal else 0)
  mel = np.random.default_rng(seed).standard_normal((2, frames, c.mels, c.audio_channels))
  mel = mel.astype(np.float32)

  x = torch.from_numpy(mel.transpose(0, 3, 1, 2).copy())
  posterior = model.encode(x).latent_dist
  told = lambda t: t.permute(0, 2, 1, 3).flatten(2)
  z = told(posterior.mean)
  made_mel = model.decoder(posterior.mean).permute(0, 2, 3, 1)
  kept = min(made_mel.shape[1], 1 + (z.shape[1] - 1) * c.stride)  # of any length they pad or crop

  def ours(params, mel):
    module = plain.joined(Autoencoder, c, params)
    mean, logvar = module.encode(mel, Past())
    made = module.decode(mean, Past())
    loss = jnp.mean(made[:, :kept] ** 2) + jnp.mean(mean**2) + jnp.mean(logvar**2)
    return loss, (mean, logvar, made[:, :kept])

  run = tiny.quick_jit(jax.value_and_grad(ours, has_aux=True))
  (_, (mean, logvar, made)), grads = run(params, mel)
  assert relative(mean, z.detach()) <= FORWARD
  assert relative(logvar, told(posterior.logvar).detach()) <= FORWARD
  assert relative(made, made_mel[:, :kept].detach()) <= FORWARD
  loss = made_mel[:, :kept].square().mean() + z.square().mean()
  loss = loss + told(posterior.logvar).square().mean()
  back = lambda tensors: ltx2_audio.autoencoder(tensors, c)
  check_gradients(torch, model, loss, grads, back)


def vocoder_case(seed: int, *, stereo: int = 2, mels: int = 4) -> VocoderConfig:
  rng = np.random.default_rng(seed)
  return VocoderConfig(
    inputs=stereo * mels,
    outputs=stereo,
    width=8 * 2 ** int(rng.integers(0, 2)),
    factors=(3, 2),
    sizes=(int(rng.choice([3, 5, 7])), 4),
    kernels=(3, 5),
    dilations=((1, 3), (1, int(rng.integers(2, 5)))),
    activation=('leaky', 'snake', 'snakebeta')[seed % 3],
    oversampling=1 if seed % 3 == 0 or seed == 4 else 2,
    ending=('tanh', 'clamp', 'none')[seed % 3],
    last_bias=bool(seed % 2),
  )


def theirs_of(c: VocoderConfig, prefix: str = '') -> dict:
  fields = {
    'in_channels': c.inputs,
    'hidden_channels': c.width,
    'out_channels': c.outputs,
    'upsample_kernel_sizes': list(c.sizes),
    'upsample_factors': list(c.factors),
    'resnet_kernel_sizes': list(c.kernels),
    'resnet_dilations': [list(d) for d in c.dilations],
    'act_fn': 'leaky_relu' if c.activation == 'leaky' else c.activation,
    'leaky_relu_negative_slope': c.slope,
    'antialias': c.oversampling > 1,
    'antialias_ratio': max(c.oversampling, 2),
    'antialias_kernel_size': c.filter_size,
    'final_act_fn': None if c.ending == 'none' else c.ending,
    'final_bias': c.last_bias,
  }
  return {prefix + name: value for name, value in fields.items()}


def check_vocoder(torch, model, module, config, back, seed, frames):
  params = back({n: t.detach().numpy() for n, t in model.state_dict().items()})
  stereo = 2
  shape = (2, stereo, frames, config.inputs // stereo)
  mel = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
  wave = model(torch.from_numpy(mel))
  probe = np.random.default_rng(9).standard_normal(wave.shape).astype(np.float32)

  def ours(params, mel):
    made = plain.joined(module, config, params)(mel).swapaxes(1, 2)
    return jnp.sum(made * probe), made

  run = tiny.quick_jit(jax.value_and_grad(ours, has_aux=True))
  (_, made), grads = run(params, flattened(mel.transpose(0, 2, 3, 1)))
  assert relative(made, wave.detach()) <= FORWARD
  check_gradients(torch, model, (wave * torch.from_numpy(probe)).sum(), grads, back)


@pytest.mark.parametrize('seed', [0, 1, 2, 4])
def test_vocoder(torch, reference, seed):
  c = vocoder_case(seed)
  model = reference['vocoder'](**theirs_of(c)).eval()
  randomise(torch, model, seed, gain=1.0)  # above it, most samples are beyond the clamp's ends
  check_vocoder(torch, model, Vocoder, c, lambda t: ltx2_audio.vocoder(t, c), seed, 7)


def wide_case(seed: int) -> WideConfig:
  narrow = dataclasses.replace(vocoder_case(seed), factors=(4, 4), sizes=(8, 4), ending='none')
  extension = dataclasses.replace(vocoder_case(seed + 1), factors=(4, 3), sizes=(8, 3))
  return WideConfig(
    narrow, dataclasses.replace(extension, ending='none'), n_fft=32, hop_samples=4, mels=4
  )


def theirs_wide(c: WideConfig) -> dict:
  return {
    **theirs_of(c.narrow),
    **theirs_of(c.extension, 'bwe_'),
    'filter_length': c.n_fft,
    'hop_length': c.hop_samples,
    'window_length': c.n_fft,
    'num_mel_channels': c.mels,
    'input_sampling_rate': c.narrow_rate_hz,
    'output_sampling_rate': c.narrow_rate_hz * c.ratio,
  }


@pytest.mark.parametrize('seed', [1, 2])
def test_wide_vocoder(torch, reference, seed):
  c = wide_case(seed)
  model = reference['wide'](**theirs_wide(c)).eval()
  randomise(torch, model, seed)
  generator = torch.Generator().manual_seed(seed)
  for name, buffer in model.named_buffers():
    if 'mel_stft' in name:
      buffer.copy_(torch.rand(buffer.shape, generator=generator) - 0.3)
  with torch.no_grad():  # so that few samples leave −1 … 1
    for part in (model.vocoder, model.bwe_generator):
      part.conv_out.weight.mul_(1e-3)
  check_vocoder(torch, model, WideVocoder, c, lambda t: ltx2_audio.wide_vocoder(t, c), seed, 6)


def test_full_sizes_hold_as_many_parameters(torch, reference):
  constant = ("['lowpass']", "['basis']", "['bank']")
  with torch.device('meta'):
    theirs = {
      'autoencoder': reference['autoencoder'](),
      'vocoder': reference['vocoder'](),
      'wide': reference['wide'](),
    }
  ours = {
    'autoencoder': plain.shapes(Autoencoder, AutoencoderConfig()),
    'vocoder': plain.shapes(Vocoder, VocoderConfig()),
    'wide': plain.shapes(WideVocoder, WideConfig()),
  }
  for name, model in theirs.items():
    assert count(ours[name], constant) == sum(p.numel() for p in model.parameters())


def test_released_names_are_read(torch, reference):
  c = vocoder_case(2)
  model = reference['vocoder'](**theirs_of(c))
  tensors = randomise(torch, model, 2)
  changes = {
    'upsamplers.': 'ups.', 'resnets.': 'resblocks.', 'conv_in.': 'conv_pre.',
    'conv_out.': 'conv_post.', 'act_out.': 'act_post.', 'downsample.': 'downsample.lowpass.',
  }  # fmt: skip
  released = {}
  for name, tensor in tensors.items():
    for ours, theirs in changes.items():
      name = name.replace(ours, theirs)
    released[name] = tensor
  a, b = (plain.flat(ltx2_audio.vocoder(t, c)) for t in (tensors, released))
  assert all(np.array_equal(a[n], b[n]) for n in a)


def test_missing_and_odd_tensors_are_refused(torch, reference):
  c = vocoder_case(2)
  tensors = randomise(torch, reference['vocoder'](**theirs_of(c)), 2)
  with tiny.refused('the weights lack conv_in.bias'):
    ltx2_audio.vocoder({n: t for n, t in tensors.items() if n != 'conv_in.bias'}, c)
  with tiny.refused(r'first/bias has shape \(3,\)'):
    ltx2_audio.vocoder({**tensors, 'conv_in.bias': np.zeros(3)}, c)
  name = next(n for n in tensors if n.endswith('.filter'))
  with tiny.refused('is not the filter of'):
    ltx2_audio.vocoder({**tensors, name: tensors[name] * 2}, c)
