"""Joins a learned picture half and a learned sound half to one codec, half as large on disk.

python tools/ship_codec.py --picture=CODEC/codec --sound=SOUNDING/codec --out=FOLDER
"""

import dataclasses
from pathlib import Path

import numpy as np
from absl import flags

from sorajax import cli
from sorajax.codec import codec as codec_lib

_PICTURE = flags.DEFINE_string('picture', None, 'Folder of a codec whose picture half is taken.')
_SOUND = flags.DEFINE_string('sound', None, 'Folder of a codec whose sound half is taken.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the whole.')
flags.mark_flags_as_required(['picture', 'sound', 'out'])


def main() -> None:
  picture, sound = codec_lib.load(_PICTURE.value), codec_lib.load(_SOUND.value)
  dataclasses.replace(picture, audio=sound.audio).save(_OUT.value, dtype=np.float16)
  size = sum(file.stat().st_size for file in Path(_OUT.value).iterdir())
  print(f'{_OUT.value}: {size / 1e6:.1f} MB')


if __name__ == '__main__':
  cli.run(main)
