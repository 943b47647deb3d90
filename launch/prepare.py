"""Cuts a folder of films into clips: ArrayRecord shards and an index.

  python launch/prepare.py --config=configs/film.py --input=FILMS --output=CLIPS

Captions are taken from `<film>.json` or `<film>.txt` beside each film. A run that was stopped goes
on where it was; a finished data set is left as it is.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sorajax import cli
from sorajax.build import frozen
from sorajax.data import index as index_lib
from sorajax.data.prepare import PrepareConfig, prepare
from sorajax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file('config', None, 'A config with a `prepare` section.')
_INPUT = flags.DEFINE_string('input', None, 'Folder of films and images.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the data set.', required=True)
_RUNNER = flags.DEFINE_string('runner', None, 'Apache Beam runner; default: local processes.')
_WORKERS = flags.DEFINE_integer('workers', None, 'Processes; default: one for each core.', 1)
flags.mark_flag_as_required('config')

SHOWN = 20  # skipped files that the summary names


def main() -> None:
  cli.stay_alone()
  if 'prepare' not in _CONFIG.value:
    raise UserError(
      'the config has no section `prepare`; give one that has, such as configs/film.py'
    )
  config = frozen(PrepareConfig, _CONFIG.value.prepare, 'prepare')
  finished = Path(_OUTPUT.value, index_lib.NAME).is_file()
  index = prepare(_INPUT.value, _OUTPUT.value, config, runner=_RUNNER.value, workers=_WORKERS.value)
  if finished:
    print(f'{_OUTPUT.value} was finished already; nothing was done')
  _print_summary(index)


def _print_summary(index: index_lib.Index) -> None:
  for name, split in index.splits.items():
    print(
      f'{name}: {len(split.rows)} clips, {split.seconds:.0f} s, {split.bytes / 1e6:.1f} MB, '
      f'{split.captioned} with a caption'
    )
  for reason, count in index.dropped.items():
    print(f'dropped: {count} {reason}')
  for item in index.skipped[:SHOWN]:
    print(f'skipped: {item["file"]}: {item["reason"]}')
  if len(index.skipped) > SHOWN:
    print(f'skipped: {len(index.skipped) - SHOWN} more, named in {index_lib.NAME}')
  print(f'data set: {_OUTPUT.value}')


if __name__ == '__main__':
  cli.run(main)
