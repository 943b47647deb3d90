import os

import pytest
from clips import join, make_clip

from sorajax.errors import UserError
from sorajax.media import writer
from sorajax.media.shots import detect_shots


def test_cuts_are_found_at_their_frames(tmp_path):
  path = tmp_path / 'film.mp4'
  writer.write(path, join(*(make_clip(frames, seed=frames) for frames in (30, 26, 40))))
  shots = detect_shots(path)
  assert [round(start_s * 12) for start_s, _ in shots] == [0, 30, 56]
  assert [end_s for _, end_s in shots[:-1]] == [start_s for start_s, _ in shots[1:]]
  assert shots[-1][1] == pytest.approx(96 / 12)


def test_one_frame_is_one_shot(tmp_path):
  path = tmp_path / 'film.mp4'
  writer.write(path, make_clip(1))
  assert detect_shots(path) == [(0.0, pytest.approx(1 / 12))]


@pytest.mark.parametrize('processors', [1, 2])
def test_a_film_that_is_cut_short_is_refused(tmp_path, processors):
  """Whether the library decodes in one thread, as it does on one processor, or in several."""
  all_of_them = os.sched_getaffinity(0)
  if len(all_of_them) < processors:
    pytest.skip(f'needs {processors} processors')
  os.sched_setaffinity(0, sorted(all_of_them)[:processors])
  try:
    check_cut_short(tmp_path / 'film.mp4')
  finally:
    os.sched_setaffinity(0, all_of_them)


SHOTS = ((6, 20), (7, 27), (8, 14))  # cut in the middle of a packet, which one thread objects to


def check_cut_short(path):
  writer.write(path, join(*(make_clip(frames, seed=seed) for seed, frames in SHOTS)))
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(UserError, match=r'cut short: .* of 5.08 s'):
    detect_shots(path)
