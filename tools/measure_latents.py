"""How much of a held-out clip a model sees through noise, in pixels and in sound.

  python tools/measure_latents.py --checkpoint=RUN --clips=CLIPS

For runs on the latents of different codecs, which the losses of their own latents cannot compare:
held-out clips are noised, the network says in one step what was there, and the codec decodes that.
At level 1 the clip is gone, and what is left is what the model knows from the caption.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from sorajax import cli
from sorajax.data.sources import clip_of, open_source
from sorajax.evaluate.fidelity import mel_distance, psnr_db, ssim
from sorajax.flow import path
from sorajax.generate import service
from sorajax.generate.request import Request, plan
from sorajax.generate.sampler import Sampler

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run.')
_CLIPS = flags.DEFINE_string('clips', None, 'A prepared folder; its validation clips are used.')
flags.mark_flags_as_required(['checkpoint', 'clips'])

LEVELS = (0.3, 0.5, 0.7, 0.9, 1.0)


def main() -> None:
  model = service.load(_CHECKPOINT.value)
  sampler = Sampler(model.settings, model.network, model.codec, batch=1)
  source = open_source(_CLIPS.value, 'validation')
  rows: dict[float, list[list[float]]] = {level: [] for level in LEVELS}

  @jax.jit
  def clean(params, tokens, text, key, level):
    """The network's guess of the latents, in one step from noise of `level`."""
    keys = dict(zip(tokens, jax.random.split(key, len(tokens))))
    noise = {m: jax.random.normal(keys[m], t.latent.shape) for m, t in tokens.items()}
    seen = {m: path.interpolate(t.latent, noise[m], t.sigma * level) for m, t in tokens.items()}
    noised = {m: t.replace(latent=seen[m], sigma=t.sigma * level) for m, t in tokens.items()}
    v = model.network.velocity(params, noised, model.network.read(params, text))
    return {m: path.data_from_velocity(seen[m], v[m], noised[m].sigma) for m in tokens}

  with jax.set_mesh(model.mesh):
    for number in range(len(source)):
      example = source[number]
      clip = clip_of(example)
      asked = plan(
        Request(example.caption, number, clip.seconds, clip.fps, *clip.video.shape[1:3]),
        model.codec, ('text_to_clip',),
      )  # fmt: skip
      latents = model.codec.encode(clip)
      batch = sampler.tokens([dataclasses.replace(asked, latents=latents)])
      tokens = jax.tree.map(jnp.asarray, batch.tokens)
      for level in LEVELS:
        made = clean(model.params, tokens, batch.text, jax.random.key(number), level)
        video = np.asarray(made['video'])[0, : latents.video[..., 0].size]
        audio = np.asarray(made['audio'])[0, : len(latents.audio)]
        guess = model.codec.decode(
          dataclasses.replace(latents, video=video.reshape(latents.video.shape), audio=audio)
        )
        rows[level].append([
          psnr_db(clip.video, guess.video), ssim(clip.video, guess.video),
          mel_distance(clip.audio, guess.audio, clip.sample_rate_hz),
        ])  # fmt: skip
  print('| noise | picture, PSNR | picture, SSIM | sound, mel distance |\n|---|---|---|---|')
  for level, found in rows.items():
    psnr, likeness, mel = np.mean(found, axis=0)
    print(f'| {level} | {psnr:.1f} dB | {likeness:.3f} | {mel:.3f} |')


if __name__ == '__main__':
  cli.run(main)
