"""Plans a run: python launch/plan.py --config=configs/ltx2.py --topology=v5p:4x4x4.

Says whether it fits and how long it takes: a step of training; with --mode=sample a batch of clips,
with --mode=refine its second stage where clips are made small first, with --mode=decode what the
codec makes of them; with --search, which mesh, remat policy and number of rows take least for a
clip, and the plan of the best. Compiles the very program that train.py or sample.py would run,
ahead of time, for chips that are not here, and reads memory, matmuls and collectives from it. Needs
pip install 'sorajax[tpu]', or 'sorajax[gpu]' for --topology=h100:8.
"""

import dataclasses
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.errors import UserError
from sorajax.generate.refine import second_stage
from sorajax.plan import plan, report, search_report

_CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train; see configs/.')
_TOPOLOGY = flags.DEFINE_string(
  'topology', None, 'CHIP:SIDExSIDE, such as v5p:4x4x8 or v6e:16x16, or h100:2x8 of two machines.'
)
_SLICES = flags.DEFINE_integer('slices', 1, 'How many of that topology.', lower_bound=1)
_MODE = flags.DEFINE_enum('mode', 'train', ['train', 'sample', 'refine', 'decode'], 'What is run.')
_ROWS = flags.DEFINE_integer(
  'rows', None, 'Rows of a step, or clips at once; default: the config, with --mode=decode 1.'
)
_WEIGHTS = flags.DEFINE_enum(
  'weights', 'float32', ['float32', 'bfloat16'], 'Type of the weights that are sampled.'
)
_CODEC = flags.DEFINE_string(
  'codec', 'ltx2', 'Of --mode=decode: a folder or name; ltx2 for the sizes of its autoencoder.'
)
_PRICE = flags.DEFINE_float('price', 0.0, 'Of a chip for an hour, in any currency.')
_QUICK = flags.DEFINE_bool('quick', False, 'Compile with less effort, in a fraction of the time.')
_SEARCH = flags.DEFINE_bool('search', False, 'Look for the mesh, remat policy and rows to take.')
_SEARCH_COMPILE = flags.DEFINE_integer('search_compile', 2, 'Of the best by formula, to compile.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the plan as a page, and the program as text.')
flags.mark_flags_as_required(['config', 'topology'])


def main() -> None:
  settings = build.settings(_CONFIG.value)
  name = _CONFIG.value.name + ('-refine' if _MODE.value == 'refine' else '')
  place = plan.Place(name, _TOPOLOGY.value, _SLICES.value, _PRICE.value, _QUICK.value)
  sampled, rows, weights = _MODE.value in ('sample', 'refine'), _ROWS.value, _WEIGHTS.value
  compiles = not _SEARCH.value or _SEARCH_COMPILE.value > 0
  for name, used, what in (
    ('search', _MODE.value != 'decode', 'all modes but decode'),
    ('search_compile', _SEARCH.value, '--search'),
    ('weights', sampled, '--mode=sample and --mode=refine'),
    ('codec', _MODE.value == 'decode', '--mode=decode'),
    *((name, compiles, 'plans; --search_compile=0 makes none') for name in ('price', 'out')),
  ):
    if not used and flags.FLAGS[name].value != flags.FLAGS[name].default:
      raise UserError(f'--{name} is for {what}; leave it out')
  if _MODE.value == 'refine':
    settings = dataclasses.replace(settings, sample=second_stage(settings.sample))
  if _SEARCH.value:
    for tried in plan.search(settings, place, sampled, rows, weights, _SEARCH_COMPILE.value):
      print(search_report.text(tried, place), flush=True)
    plans = iter(search_report.plans(tried))
  elif _MODE.value == 'decode':
    plans = iter([plan.of_decoding(settings, place, _CODEC.value, rows)])
  elif sampled:
    plans = iter([plan.of_sampling(settings, place, rows, weights)])
  else:
    plans = plan.of_training(settings, place, rows)
  for made in plans:
    print(report.text(made), flush=True)
    if _OUT.value:
      report.write(made, Path(_OUT.value))


if __name__ == '__main__':
  cli.run(main)
