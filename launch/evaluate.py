"""Judges a model of the generated world: python launch/evaluate.py --checkpoint=RUN --out=REPORT.

Samples the benchmark's prompts, which were never trained on, and judges the mp4 files in four rows:
true clips, the model's, the model's without attention between sound and picture, and true pictures
with the sound of another clip. Writes REPORT/report.html, a page that plays its clips and needs
nothing else, and REPORT/report.json. Killed, the same command goes on with what is missing.
"""

import json

from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.evaluate import benchmark, report
from sorajax.generate import service
from sorajax.media.atomic import make_folder, write_text
from sorajax.worlds.world import SPLITS

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Default: the one kept with the run.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run, or one of its steps.')
_SPLIT = flags.DEFINE_enum('split', 'test', SPLITS[1:], 'Of the prompts.')
_COUNT = flags.DEFINE_integer('count', 200, 'Prompts.', 2)
_BATCH = flags.DEFINE_integer('batch', 8, 'Clips sampled at once.', 1)
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips and the report.')
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  out = make_folder(_OUT.value)
  prompts = [benchmark.prompt(_SPLIT.value, number) for number in range(_COUNT.value)]
  model = service.load(_CHECKPOINT.value, _CONFIG.value)
  folders = benchmark.make(model, prompts, out / 'clips', _BATCH.value)
  found = report.of({row: benchmark.judged(folder, prompts) for row, folder in folders.items()})
  write_text(out / 'report.json', json.dumps(found.as_json(), indent=1) + '\n')
  title = f'{len(prompts)} {_SPLIT.value} prompts, step {model.step} of {model.settings.name}'
  write_text(out / 'report.html', report.page(title, found, prompts, folders))
  print(f'{found.as_text()}\nthe page: {out / "report.html"}')


if __name__ == '__main__':
  cli.run(main)
