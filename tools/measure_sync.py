"""Samples flash-and-beep clips and counts how many events of picture and sound coincide.

  python tools/measure_sync.py --checkpoint=RUN --count=200

The model, and the model with audio↔video attention taken out; beside each, its pictures with the
sound of its other clips, which is chance. Judged as a viewer gets them, from mp4 files.
"""

import dataclasses
import tempfile
from pathlib import Path

import jax
from absl import flags

from sorajax import cli
from sorajax.clip import Clip
from sorajax.evaluate.sync import Agreement, agreement
from sorajax.generate import service
from sorajax.generate.ask import Ask
from sorajax.media import reader, writer

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run of configs/flash.py.')
_COUNT = flags.DEFINE_integer('count', 200, 'Clips in each row.', 2)
flags.mark_flag_as_required('checkpoint')


def main() -> None:
  model = service.load(_CHECKPOINT.value)
  joined = sampled(model, joined=True)
  apart = sampled(model, joined=False)
  other = lambda clips: zip(clips, clips[1:] + clips[:1])
  rows = {
    'model': zip(joined, joined),
    'model, other sound (chance)': other(joined),
    'without audio↔video attention': zip(apart, apart),
    'the same, other sound (chance)': other(apart),
  }
  print(f'{"":32} precision  recall  flashes  beeps')
  for name, pairs in rows.items():
    a = sum((agreement(video, audio) for video, audio in pairs), Agreement())
    print(f'{name:32} {a.precision:9.3f} {a.recall:7.3f} {a.seen:8d} {a.heard:6d}')


def sampled(model: service.Model, joined: bool) -> list[Clip]:
  """Clips sampled without a prompt, written as mp4 and read back."""
  ask = Ask(count=_COUNT.value)
  sampler = service.sampler_of(model, model.settings.sample.batch, joined)
  with jax.set_mesh(model.mesh), tempfile.TemporaryDirectory() as folder:
    clips, film = [], Path(folder) / 'clip.mp4'
    for made in sampler(model.params, service.requests_of(model, ask)):
      writer.write(film, made.clip)
      clips.append(dataclasses.replace(reader.read(film), fps=made.clip.fps))
    return clips


if __name__ == '__main__':
  cli.run(main)
