"""How fast the picture autoencoder is, beside diffusers' on the same weights and the same cores.

  python tools/bench_codec.py

Needs the extra [parity]. Both code the same pixels in turn, a round each, so that whatever else the
machine does hits both; the medians of all rounds are compared.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from sorajax import cli
from sorajax.codec import video
from sorajax.errors import UserError
from sorajax.weights import ltx2_video

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


def main() -> None:
  try:
    import diffusers
    import torch
  except ImportError as error:
    raise UserError(f"{error.name} is missing: pip install '.[parity]'") from error
  torch.manual_seed(0)
  reference = diffusers.AutoencoderKLLTX2Video(**MEDIUM).eval()
  config = ltx2_video.config_of(reference.config)
  weights = {name: t.detach().numpy() for name, t in reference.state_dict().items()}
  params = jax.device_put(ltx2_video.params_of(config, weights))
  shape = (1, _FRAMES.value, _SIDE.value, _SIDE.value, 3)
  pixels = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
  latents = np.asarray(video.encode(config, params, jnp.asarray(pixels))[0])
  ours = {'encode': jnp.asarray(pixels), 'decode': jnp.asarray(latents)}
  moved = {'encode': torch.tensor(pixels), 'decode': torch.tensor(latents)}
  theirs = {name: x.permute(0, 4, 1, 2, 3).contiguous() for name, x in moved.items()}
  own = {n: jax.jit(getattr(video, n), static_argnums=0) for n in ours}

  def diffusers_run(name: str) -> None:
    with torch.inference_mode():
      getattr(reference, name)(theirs[name])

  def sorajax_run(name: str) -> None:
    jax.block_until_ready(own[name](config, params, ours[name]))

  runs = {'sorajax': sorajax_run, 'diffusers': diffusers_run}
  times: dict[tuple[str, str], list[float]] = {(n, who): [] for n in ours for who in runs}
  for _ in range(_ROUNDS.value + 1):
    for name, who in times:
      times[name, who].append(_seconds(runs[who], name))
  count = sum(p.size for p in jax.tree.leaves(params))
  print(f'{count / 1e6:.1f} million parameters, {"×".join(map(str, shape[1:4]))}, float32\n')
  print('| megapixels/s | sorajax | diffusers | ratio |\n|---|---|---|---|')
  megapixels = np.prod(shape[1:4]) / 1e6
  for name in ours:
    a, b = (statistics.median(times[name, who][1:]) for who in runs)  # the first round compiles
    print(f'| {name} | {megapixels / a:.2f} | {megapixels / b:.2f} | {b / a:.2f}× |')


def _seconds(run: Callable[[str], None], name: str) -> float:
  start = time.perf_counter()
  run(name)
  return time.perf_counter() - start


if __name__ == '__main__':
  cli.run(main)
