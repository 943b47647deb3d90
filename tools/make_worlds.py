"""Makes clips of the generated world, each with its caption and its truth.

  python tools/make_worlds.py --config=configs/worlds.py --out=CLIPS --count=3000
  python tools/make_worlds.py --config=configs/worlds.py --out=SOLID --kind=solid

As launch/prepare.py would write them, with the truth in every record; CLIPS/clips.png shows the
first ones. Everything follows from the seed. Solid bodies need `pip install 'sorajax[mujoco]'`.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.clip import Clip
from sorajax.data.generated import write_clips
from sorajax.media.sheet import contact_sheet, save_image, stack_sheets
from sorajax.worlds.draw import PLAYS
from sorajax.worlds.world import WorldConfig, generate

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its prepare section sets the size.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the clips.')
_COUNT = flags.DEFINE_integer('count', 3000, 'Training clips; a tenth more is held out.', 10)
_SEED = flags.DEFINE_integer('seed', 0, 'Of all of them.', 0)
_KIND = flags.DEFINE_enum('kind', '', ['', *PLAYS], 'Of all scenes; any but solid if not given.')
flags.mark_flags_as_required(['config', 'out'])

SHOWN = 8


def main() -> None:
  c = build.settings(_CONFIG.value).prepare
  world = WorldConfig(
    c.frames[0], c.fps, c.height, c.width, c.sample_rate_hz, c.audio_channels, kind=_KIND.value
  )

  def make(split: str, number: int) -> tuple[Clip, str, str]:
    clip, caption, truth = generate(world, split, _SEED.value, number)
    return clip, caption, truth.to_json()

  name = f'worlds {_KIND.value}'.strip()
  write_clips(_OUT.value, c, make, name=name, count=_COUNT.value, seed=_SEED.value)
  sheets = [contact_sheet(*make('train', number)[:2]) for number in range(SHOWN)]
  save_image(Path(_OUT.value) / 'clips.png', stack_sheets(sheets))
  print(f'{_COUNT.value} clips in {_OUT.value}')


if __name__ == '__main__':
  cli.run(main)
