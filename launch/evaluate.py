"""Judges a model of the generated world: python launch/evaluate.py --checkpoint=RUN --out=REPORT.

Samples the benchmark's prompts, which were never trained on, and judges the mp4 files in four rows:
true clips, the model's, the model's without attention between sound and picture, and true pictures
with the sound of another clip. Writes REPORT/report.html, a page that plays its clips and needs
nothing else, and REPORT/report.json. Killed, the same command goes on with what is missing.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.clip import Clip
from sorajax.evaluate import benchmark, report
from sorajax.evaluate.benchmark import Prompt
from sorajax.evaluate.judges import summary
from sorajax.generate import service
from sorajax.generate.request import Request
from sorajax.generate.sampler import Sampler
from sorajax.media.atomic import make_folder, write_text
from sorajax.worlds.world import SPLITS

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Default: the one kept with the run.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run, or one of its steps.')
_SPLIT = flags.DEFINE_enum('split', 'test', SPLITS[1:], 'Of the prompts.')
_COUNT = flags.DEFINE_integer('count', 200, 'Prompts.', 2)
_BATCH = flags.DEFINE_integer('batch', 8, 'Clips sampled at once.', 1)
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips and the report.')
flags.mark_flags_as_required(['checkpoint', 'out'])

TRUTH, MODEL, CUT, CHANCE = 'truth', 'model', 'sound and picture apart', 'sound of another clip'


def main() -> None:
  out = make_folder(_OUT.value)
  prompts = [benchmark.prompt(_SPLIT.value, number) for number in range(_COUNT.value)]
  folders = {row: out / 'clips' / row.replace(' ', '_') for row in (TRUTH, MODEL, CUT, CHANCE)}
  true = lambda missing: [benchmark.shown(p.scene) for p in missing]
  model = service.load(_CHECKPOINT.value, _CONFIG.value)
  benchmark.write_missing(folders[TRUTH], prompts, true)
  benchmark.write_missing(
    folders[CHANCE], prompts, lambda missing: foreign(missing, prompts, folders[TRUTH])
  )
  benchmark.write_missing(folders[MODEL], prompts, lambda missing: sampled(model, missing))
  benchmark.write_missing(folders[CUT], prompts, lambda missing: sampled(model, missing, False))
  verdicts = {row: benchmark.judged(folder, prompts) for row, folder in folders.items()}
  rows = {row: summary(found) for row, found in verdicts.items()}
  corrected = report.scores(rows, TRUTH, CHANCE)
  numbers = report.as_json(rows, corrected, verdicts)
  write_text(out / 'report.json', json.dumps(numbers, indent=1) + '\n')
  title = f'{len(prompts)} {_SPLIT.value} prompts, step {model.step} of {model.settings.name}'
  whole = report.page(
    title, rows, corrected, verdicts, prompts, folders, model=MODEL, truth=TRUTH
  )  # fmt: skip
  write_text(out / 'report.html', whole)
  for row in rows:
    print(f'{row:24} sync beyond chance {corrected[row]:+.3f}  {rows[row]}')
  print(f'the page: {out / "report.html"}')


def sampled(model: service.Model, prompts: list[Prompt], joined: bool = True) -> Iterator[Clip]:
  """What a model makes of prompts, each with its number as the seed."""
  size = benchmark.SIZE
  seconds = benchmark.FRAMES / benchmark.FPS
  requests = [Request(p.text, p.number, seconds, benchmark.FPS, size, size) for p in prompts]
  sampler = Sampler(model.settings, model.network, model.codec, _BATCH.value, joined)
  with jax.set_mesh(model.mesh):
    for made in sampler(model.params, requests):
      yield made.clip


def foreign(missing: list[Prompt], prompts: list[Prompt], folder: Path) -> Iterator[Clip]:
  """True pictures with the sound of the next prompt's clip."""
  for p in missing:
    other = prompts[(p.number + 1) % len(prompts)]
    pair = [benchmark.watch(benchmark.film(folder, q)) for q in (p, other)]
    yield benchmark.with_sound_of_another(pair)[0]


if __name__ == '__main__':
  cli.run(main)
