import numpy as np
import pytest

from sorajax.media import reader, segments


@pytest.mark.parametrize('fps', [25.0, 24_000 / 1001])
@pytest.mark.parametrize('lengths', [[29, 32, 2], [29, 32, 1], [1, 4], [1], [2, 2, 2], [3, 1, 5]])
def test_joined_segments_of_any_lengths_show_every_picture_at_its_time(tmp_path, lengths, fps):
  count = sum(lengths)
  grey = 3 * np.arange(count, dtype=np.uint8)
  pictures = np.broadcast_to(grey[:, None, None, None], (count, 32, 48, 3))
  files = [tmp_path / f'{i}.mp4' for i in range(len(lengths))]
  for file, part in zip(files, np.split(pictures, np.cumsum(lengths)[:-1])):
    segments.write_segment(file, [part], fps)
  segments.join(tmp_path / 'film.mp4', files, None, 16_000)
  found, film = reader.probe(tmp_path / 'film.mp4'), reader.read(tmp_path / 'film.mp4')
  assert (found.frames, len(film.video)) == (count, count)
  assert found.fps == pytest.approx(fps, rel=1e-6)
  np.testing.assert_allclose(film.video.mean((1, 2, 3)), grey, atol=2.5)
