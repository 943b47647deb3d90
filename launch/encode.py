"""Clips → latents: python launch/encode.py --config=configs/film.py --input=CLIPS --output=LATENTS.

CLIPS is a folder of clips, or a generated world such as world:50000, whose clips are never stored.
Takes the learned codec that the config or --codec names, or fits the linear one on the training
clips; for sound alone there is --sound. Stores every clip's latents. Killed, the same command goes
on.
"""

import dataclasses
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sorajax import build, cli
from sorajax.codec import codec as codec_lib
from sorajax.data import latents
from sorajax.data.references import Reference
from sorajax.generate import released

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Its codec section is used.')
_INPUT = flags.DEFINE_string('input', None, 'A folder of launch/prepare.py, or world:COUNT.')
_OUTPUT = flags.DEFINE_string('output', None, 'Folder for the latents.')
_CODEC = flags.DEFINE_string(
  'codec', None, 'Folder or name of a codec, or an LTX-2; default: that of the config.'
)
_SOUND = flags.DEFINE_string('sound', None, 'Folder of a codec whose sound half is taken.')
_REFERENCE = flags.DEFINE_string(
  'reference', None, 'Made after it: picture, grey or edges of the clips, or a folder of clips.'
)
_SMALLER = flags.DEFINE_integer('reference_smaller', 1, 'How many times smaller it is.', 1)
_KEYFRAMES = flags.DEFINE_integer(
  'keyframes', 0, 'Frames of each clip that are also coded alone, for the task keyframes.', 0
)
_WORKERS = flags.DEFINE_integer('workers', 2, 'Processes.', lower_bound=1)
flags.mark_flags_as_required(['config', 'input', 'output'])


def main() -> None:
  cli.stay_alone()
  settings = build.settings(_CONFIG.value)
  learned = _CODEC.value or settings.trained
  if learned and released.is_released(Path(learned)):
    codec = released.codec_of(Path(learned))
  elif learned:
    codec = codec_lib.load(learned)
  else:
    halves = ('video',) if _SOUND.value else ('video', 'audio')
    codec = latents.fit_or_load(_INPUT.value, _OUTPUT.value, settings.codec, halves)
  if _SOUND.value:
    codec = dataclasses.replace(codec, audio=codec_lib.load(_SOUND.value).audio)
  build.check_geometry(settings, codec.geometry)
  reference = Reference(_REFERENCE.value, _SMALLER.value) if _REFERENCE.value else None
  index = latents.encode(
    _INPUT.value, codec, _OUTPUT.value, _WORKERS.value, reference, _KEYFRAMES.value
  )
  counts = ', '.join(f'{len(split.rows)} {name}' for name, split in index.splits.items())
  print(f'latents of {counts} clips in {_OUTPUT.value}')


if __name__ == '__main__':
  cli.run(main)
