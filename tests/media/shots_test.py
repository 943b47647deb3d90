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


def test_a_film_that_is_cut_short_is_refused(tmp_path):
  path = tmp_path / 'film.mp4'
  writer.write(path, make_clip(60))
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(UserError, match=r'cut short: .* of 5.00 s'):
    detect_shots(path)
