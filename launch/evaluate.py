"""Judges a model of the generated world: python launch/evaluate.py --checkpoint=RUN --out=REPORT.

Samples the benchmark's prompts, which were never trained on: of rooms, speakers and storyboards
from text alone, and of rooms from first frames, beginnings, keyframes, sounds and pictures. Judges
the mp4 files in four rows: true clips, the model's, the model's without attention between sound and
picture, and true pictures with the sound of another clip. Writes REPORT/report.html, a page that
plays its clips and needs nothing else, and REPORT/report.json. Killed, the same command goes on
with what is missing; a REPORT of another model, split or way of sampling is refused.
"""

import json

from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.evaluate import benchmark, origin, report
from sorajax.generate import service
from sorajax.media.atomic import make_folder, write_text
from sorajax.worlds.world import SPLITS

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Default: the one kept with the run.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Workdir of a run, or one of its steps.')
_SPLIT = flags.DEFINE_enum('split', 'test', SPLITS[1:], 'Of the prompts.')
_COUNT = flags.DEFINE_integer('count', 200, 'Prompts of each kind.', 2)
_BATCH = flags.DEFINE_integer('batch', 8, 'Clips sampled at once.', 1)
_KINDS = flags.DEFINE_list('kinds', list(benchmark.KINDS), 'Of prompts, with commas between.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips and the report.')
flags.mark_flags_as_required(['checkpoint', 'out'])


def main() -> None:
  cli.stay_alone()
  out = make_folder(_OUT.value)
  model = service.load(_CHECKPOINT.value, _CONFIG.value)
  kinds = benchmark.kinds(_KINDS.value, model.settings.train.tasks)
  origin.keep(make_folder(out / 'clips'), origin.of(model, _SPLIT.value))
  found = dict[str, report.Found]()
  for kind in kinds:
    prompts = [kind.ask(_SPLIT.value, number) for number in range(_COUNT.value)]
    clips = out / 'clips' / kind.name.replace(' ', '_')
    folders = benchmark.make(model, kind, prompts, clips, _BATCH.value)
    found[kind.name] = report.of(kind, prompts, folders)
    print(f'{kind.name}\n{found[kind.name].as_text()}\n')
  all_found = {name: known.as_json() for name, known in found.items()}
  write_text(out / 'report.json', json.dumps(all_found, indent=1) + '\n')
  asked = f'{_COUNT.value} {_SPLIT.value} prompts of {" and of ".join(found)}'
  title = f'{asked}, step {model.step} of {model.settings.name}'
  write_text(out / 'report.html', report.page(title, found))
  print(f'the page: {out / "report.html"}')


if __name__ == '__main__':
  cli.run(main)
