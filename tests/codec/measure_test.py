"""The tool that measures codecs on held-out clips."""

import dataclasses

import numpy as np
from clips import make_clip
from programs import TINY, run

from sorajax.data.generated import write_clips
from sorajax.data.prepare_file import PrepareConfig

FORM = PrepareConfig(
  frames=(5,), fps=8.0, height=16, width=16, sample_rate_hz=8000, audio_channels=1
)


def test_sound_is_not_measured_on_silence(tmp_path):
  clip = make_clip(5, size=(16, 16), fps=8.0, rate_hz=8000)
  silent = dataclasses.replace(clip, audio=np.zeros_like(clip.audio))
  write_clips(tmp_path, FORM, lambda *_: (silent, 'a', ''), name='mute', count=10, seed=0)
  error = run('tools/measure_codec.py', TINY, f'--input={tmp_path}', '--half=sound', fails=True)
  assert error == (
    f'error: all 1 held-out clips of --input={tmp_path} are silent; give some with sound\n'
  )
