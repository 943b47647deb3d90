"""The one-step decoder against diffusers' LTX2VideoDiffusionDecoderModel on random weights."""

import itertools
import math

import jax
import numpy as np
import one_steps
import pytest
from tiny import refused

from sorajax.codec import one_step, one_step_codec, plain
from sorajax.codec.one_step import OneStep
from sorajax.weights import ltx2_one_step
from sorajax.weights.shards import Shards

pytestmark = pytest.mark.parity
REASON = "needs pip install 'sorajax[parity]'"
torch = pytest.importorskip('torch', reason=REASON)
pytest.importorskip('diffusers', reason=REASON)
from diffusers.models.autoencoders import ltx2_diffusion_decoder as theirs

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


def pixels_of(config, size) -> tuple[int, int, int]:
  """Frames, height and width of a clip of latents (f, h, w)."""
  (f, h, w), (_, y, x) = size, config.geometry.stride
  return config.geometry.pixel_frames(f), h * y, w * x


@pytest.mark.parametrize('seed', range(10))
def test_pixels_of_the_same_noise_are_equal(seed, monkeypatch):
  reference, config, params = both(seed)
  rng = np.random.default_rng(seed)
  size = [n + i % 2 for i, n in enumerate(config.least)]
  latents = rng.standard_normal((2, *size, config.channels)).astype(np.float32)
  noise = rng.standard_normal((2, *pixels_of(config, size), 3)).astype(np.float32)
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


# A level of 1 that is not multiplied by 1000, since their frequencies have 24 bits and ours 53.
TILED = {
  'decoder_timestep_scale_multiplier': 1.0,
  'latent_channels': 6, 'patch_size': 2, 'decoder_head_dim': 8,
  'decoder_stage_channels': (32, 16, 16, 8), 'decoder_stage_depths': (1, 1, 1, 1),
  'decoder_stage_kernels': ((3, 3, 2), (1, 3, 3), (3, 3, 3)),
  'decoder_upsample_strides': ((1, 2, 2), (2, 1, 1), (2, 2, 2)),
  'decoder_upsample_channel_reductions': (2, 1, 2), 'decoder_stage5_kernel': (5, 7, 5),
  'decoder_t_emb_dim': 24, 'spatial_compression_ratio': 8, 'temporal_compression_ratio': 4,
}  # fmt: skip
OPTIONS = {
  **TILED, 'out_channels': 3, 'decoder_model_output_type': 'x0', 'decoder_num_inference_steps': 1,
}  # fmt: skip
TILES = {  # name → decoder, latents, tile and step
  'in space': ({}, (3, 7, 6), (80, 24, 24), (80, 16, 20)),
  'in time': ({}, (9, 3, 4), (12, 80, 80), (8, 80, 80)),
  'in both': ({}, (8, 5, 7), (12, 24, 32), (10, 20, 16)),
  'of a stage that keeps frames': (
    {'decoder_upsample_strides': ((1, 2, 2), (2, 1, 1), (1, 2, 2)),
     'temporal_compression_ratio': 2}, (12, 5, 4), (8, 24, 80), (6, 16, 80),
  ),
}  # fmt: skip


@pytest.mark.parametrize('name', TILES)
def test_tiles_of_the_same_noise_are_equal(name, monkeypatch):
  changes, size, tile, step = TILES[name]
  reference, config, params = both(1, **{**TILED, **changes})
  codec = one_steps.codec(config, params, seed=3, tile=tile, step=step)
  latents = one_steps.latents(*size, channels=config.channels)
  frames, *canvas = pixels_of(config, size)
  f, y, x = config.cell
  cells = ((frames - 1) // f + 1, *(n // c for n, c in zip(canvas, (y, x))))
  spans = [one_step_codec.spans(*axis) for axis in zip(cells, *codec.cells, config.least_cells)]
  corners = ((max(t * f - (f == 2), 0), i * y, j * x) for (t, _), (i, _), (j, _) in
             itertools.product(*spans))  # fmt: skip
  assert math.prod(map(len, spans)) > 2

  def drawn(shape, **_):
    made = one_step_codec.noise(np.uint32(3), np.array(next(corners)), shape[2:], tuple(canvas))
    return channels_first(np.asarray(made)[None])

  monkeypatch.setattr(theirs, 'randn_tensor', drawn)
  one_steps.prepare(monkeypatch.setattr)
  names = [f'tile_sample_{kind}_{side}' for kind in ('min', 'stride')
           for side in ('num_frames', 'height', 'width')]  # fmt: skip
  reference.enable_tiling(**dict(zip(names, (*tile, *step))))
  with torch.no_grad():
    raw = channels_first((latents * codec.scale + codec.mean)[None])
    wanted = reference.decode(raw).sample
  decoder = codec.decoder()
  made = [decoder.push(latents[i : i + 1]) for i in range(len(latents))] + [decoder.finish()]
  assert next(corners, None) is None
  assert apart(np.concatenate(made)[None], wanted) <= EQUAL
  if 'time' in name:
    assert sum(len(piece) > 0 for piece in made) > 1


def test_a_folder_that_diffusers_saved_is_read(tmp_path):
  reference, config, params = both(3)
  reference.save_pretrained(tmp_path)
  shards = Shards(tmp_path)
  assert ltx2_one_step.config_of(shards.config()) == config
  again = ltx2_one_step.params_of(config, shards)
  assert jax.tree.structure(again) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, again, params)


def test_tensors_that_do_not_fit_are_listed():
  reference, config, _ = both(1)
  tensors = tensors_of(reference)
  name = 'decoder.diff_blocks.0.scale_shift_table'
  taken = tensors.pop(name)
  with refused(rf'1 missing \({name}\)'):
    ltx2_one_step.params_of(config, tensors)
  with refused(rf'1 misshaped \({name} of \(6, .* instead of \(7, '):
    ltx2_one_step.params_of(config, {**tensors, name: taken[:6]})
  with refused(r'1 unknown \(decoder.strange\)'):
    ltx2_one_step.params_of(config, {**tensors, name: taken, 'decoder.strange': taken})


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'decoder_model_output_type': 'v'}, "decoder_model_output_type='v'; only 'x0' is known"),
    ({'decoder_num_inference_steps': 4}, 'decoder_num_inference_steps=4; only 1 is known'),
    ({'out_channels': 4}, 'out_channels=4; only 3 is known'),
    ({'decoder_head_dim': 12}, 'heads have 12 channels; give a multiple of 8'),
    ({'decoder_stage_channels': (32, 16, 16, 12)}, '16 channels become 12, which is not 1/2'),
    ({'decoder_stage_depths': (1, 1)}, r'lists are of \[1, 3\] stages'),
    ({'decoder_upsample_strides': ((1, 2, 2), (3, 1, 1), (2, 2, 2))}, r'frames grow by \[1, 3, 2'),
    ({'temporal_compression_ratio': 8}, r'latents are of \(8, 8, 8\) .* make \(4, 8, 8\)'),
    ({'decoder_stage5_kernel': 11}, 'cannot be built here'),
  ],
)
def test_options_that_are_unknown_are_refused(change, message):
  with refused(message):
    ltx2_one_step.config_of({**OPTIONS, **change})


def test_an_option_that_is_missing_is_named():
  with refused("the config.json of the one-step decoder lacks 'patch_size'"):
    ltx2_one_step.config_of({n: v for n, v in OPTIONS.items() if n != 'patch_size'})
