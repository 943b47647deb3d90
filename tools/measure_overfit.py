"""Can the model learn a handful of clips by heart? Samples each caption and compares.

  python tools/measure_overfit.py --checkpoint=RUN

For a run of configs/overfit.py. For each clip that it was trained on: the picture's PSNR against
the clip, and the log-spectral distance of the sound, beside what the codec alone reaches.
"""

import jax
import numpy as np
from absl import flags

from sorajax import cli
from sorajax.data.latents import evenly, open_latents
from sorajax.data.sources import clip_of, open_source
from sorajax.evaluate.fidelity import log_spectral_distance_db, psnr_db
from sorajax.generate import service
from sorajax.generate.request import Request

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run of configs/overfit.py.')
_CLIPS = flags.DEFINE_string('clips', None, 'The prepared folder that its latents came from.')
flags.mark_flags_as_required(['checkpoint', 'clips'])


def main() -> None:
  model = service.load(_CHECKPOINT.value)
  source = open_source(_CLIPS.value, 'train')
  latents = open_latents(model.settings.data.path, 'train')
  numbers = evenly(len(source), model.settings.data.limit)
  examples = [source[i] for i in numbers]
  sampler = service.sampler_of(model, model.settings.sample.batch)
  requests = [
    Request(e.caption, seed, e.frames / e.fps, e.fps, e.height, e.width)
    for seed, e in enumerate(examples)
  ]
  rows = []
  print('clip   PSNR (codec)    log-spectral distance (codec)')
  with jax.set_mesh(model.mesh):
    for made in sampler(model.params, requests):
      i = numbers[made.request.seed]
      truth, best = clip_of(source[i]), model.codec.decode(latents[i][0])
      n, s = len(made.clip.video), len(made.clip.audio)
      rows.append([
        psnr_db(truth.video[:n], made.clip.video), psnr_db(truth.video[:n], best.video[:n]),
        log_spectral_distance_db(truth.audio[:s], made.clip.audio),
        log_spectral_distance_db(truth.audio[:s], best.audio[:s]),
      ])  # fmt: skip
      a, b, c, d = rows[-1]
      print(f'{i:4d} {a:6.1f} ({b:4.1f}) dB {c:12.1f} ({d:4.1f}) dB  {made.request.prompt[:60]}')
  a, b, c, d = np.mean(rows, axis=0)
  print(f'mean {a:6.1f} ({b:4.1f}) dB {c:12.1f} ({d:4.1f}) dB')


if __name__ == '__main__':
  cli.run(main)
