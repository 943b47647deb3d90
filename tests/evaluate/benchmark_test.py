"""What the benchmark asks of a model."""

import dataclasses
import types

import numpy as np
import pytest
import tiny

from sorajax.evaluate import benchmark
from sorajax.evaluate.fidelity import psnr_db
from sorajax.media import writer


def test_keyframes_are_pictures_of_the_true_clip_and_judged_where_they_were_given(tmp_path):
  asked = benchmark.prompt('test', 0)
  true, path = benchmark.shown(asked.scene), tmp_path / 'true.mp4'
  writer.write(path, true)
  model = types.SimpleNamespace(codec=tiny.codec())
  request = benchmark.request(model, asked, path, 'keyframes')
  assert [s * benchmark.FPS for s in request.keyframe_s] == [*benchmark.KEYFRAMES]
  assert request.given is None and len(request.keyframes) == len(request.keyframe_paths) == 2
  watched = benchmark.watch(path)
  np.testing.assert_array_equal(request.keyframes, watched.video[list(benchmark.KEYFRAMES)])

  video = np.zeros_like(watched.video)
  first, last = benchmark.KEYFRAMES
  video[first] = true.video[first] // 2
  found = benchmark.KINDS['keyframes'].judge(dataclasses.replace(watched, video=video), asked)
  wanted = np.mean([psnr_db(true.video[n], video[n]) for n in (first, last)])
  assert np.isfinite(wanted) and found.given_db == pytest.approx(wanted)
