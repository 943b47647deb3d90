"""How fast the picture autoencoder is, beside diffusers' on the same weights and the same cores.

  python tools/bench_codec.py

Needs the extra [parity]. Each library has a process of its own, as it would have in use; both code
the same pixels in turn, a few times in a row, so that whatever else the machine does hits both. The
medians of all rounds are compared.
"""

from typing import Any

import numpy as np
from absl import flags

from sorajax import cli
from sorajax.errors import UserError
from sorajax.evaluate.apart import RUNS, Process, medians, timed

_ROUNDS = flags.DEFINE_integer('rounds', 7, 'Times that everything is run.', lower_bound=1)
_FRAMES = flags.DEFINE_integer('frames', 33, 'Of the clip, 1 + 8·n.')
_SIDE = flags.DEFINE_integer('side', 256, 'Of a frame in pixels, a multiple of 32.')

MEDIUM = {  # LTX-2.0's autoencoder at a quarter of its width, with a block at every size
  'latent_channels': 32,
  'block_out_channels': (64, 128, 256, 512),
  'down_block_types': ('LTX2VideoDownBlock3D',) * 4,
  'decoder_block_out_channels': (64, 128, 256),
  'layers_per_block': (1, 1, 1, 1, 1),
  'decoder_layers_per_block': (1, 1, 1, 1),
  'decoder_inject_noise': (False,) * 4,
}
HALVES = ('encode', 'decode')
CLIPS = 4  # that are coded in a round, one after the other


def main() -> None:
  ours, theirs = Process(), Process()
  shape = (1, _FRAMES.value, _SIDE.value, _SIDE.value, 3)
  pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
  config, weights, latents = theirs.call(prepare_diffusers, pixels)
  count = ours.call(prepare_sorajax, config, weights, pixels, latents)
  found = medians({'ours': ours, 'theirs': theirs}, HALVES, _ROUNDS.value)
  print(f'{count / 1e6:.1f} million parameters, {"×".join(map(str, shape[1:4]))}, float32\n')
  print('| megapixels/s | sorajax | diffusers | ratio |\n|---|---|---|---|')
  megapixels = np.prod(shape[1:4]) / 1e6
  for name in HALVES:
    a, b = found[name, 'ours'], found[name, 'theirs']
    print(f'| {name} | {megapixels / a:.2f} | {megapixels / b:.2f} | {b / a:.2f}× |')


def prepare_diffusers(pixels: np.ndarray) -> tuple[dict, dict, np.ndarray]:
  """Draws the weights; returns the config, them, and the latents of the pixels."""
  try:
    import diffusers
    import torch
  except ImportError as error:
    raise UserError(f"{error.name} is missing: pip install '.[parity]'") from error
  torch.manual_seed(0)
  model = diffusers.AutoencoderKLLTX2Video(**MEDIUM).eval()
  channels_first = lambda x: torch.tensor(x).permute(0, 4, 1, 2, 3).contiguous()
  moved = channels_first(pixels)

  def run(name: str, x: torch.Tensor) -> Any:
    with torch.inference_mode():
      return getattr(model, name)(x)

  latents = run('encode', moved).latent_dist.mode().permute(0, 2, 3, 4, 1).numpy()
  given = {'encode': moved, 'decode': channels_first(latents)}
  RUNS.update({name: timed(lambda name=name: run(name, given[name]), CLIPS) for name in HALVES})
  weights = {name: t.detach().numpy() for name, t in model.state_dict().items()}
  return dict(model.config), weights, latents


def prepare_sorajax(config: dict, weights: dict, pixels: np.ndarray, latents: np.ndarray) -> int:
  """Takes the weights over; returns how many."""
  cli.use_cores()
  import jax

  from sorajax import sharding
  from sorajax.codec import video
  from sorajax.weights import ltx2_video

  own = ltx2_video.config_of(config)
  mesh = sharding.make_mesh(sharding.MeshConfig())
  with jax.set_mesh(mesh):
    params = sharding.everywhere(ltx2_video.params_of(own, weights))
  coders = {name: jax.jit(getattr(video, name), static_argnums=0) for name in HALVES}
  given = {'encode': pixels, 'decode': latents}

  def run(name: str) -> None:
    with jax.set_mesh(mesh):
      jax.block_until_ready(coders[name](own, params, given[name]))

  RUNS.update({name: timed(lambda name=name: run(name), CLIPS) for name in HALVES})
  return sum(p.size for p in jax.tree.leaves(params))


if __name__ == '__main__':
  cli.run(main)
