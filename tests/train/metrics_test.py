import struct

import pytest
from matplotlib.figure import Figure
from tensorboardX.proto.event_pb2 import Event, SessionLog

from sorajax.train import metrics
from sorajax.train.metrics import Log, read

TOGETHER = {'loss': 3.0, 'loss_at_0.1': 4.0, 'loss_at_0.9': 2.0}
OF_PICTURE = {'loss_video': 2.0, 'loss_video_at_0.1': 3.0, 'loss_video_at_0.9': 1.0}
OF_SOUND = {'loss_audio': 1.0, 'loss_audio_at_0.1': 1.5, 'loss_audio_at_0.9': 0.5}


@pytest.mark.parametrize(
  'scalars, drawn',
  [
    (TOGETHER, {'loss': [4.0, 2.0]}),
    ({**TOGETHER, **OF_PICTURE, **OF_SOUND}, {'loss_audio': [1.5, 0.5], 'loss_video': [3.0, 1.0]}),
  ],
)
def test_held_out_losses_by_level_are_drawn_stream_by_stream(scalars, drawn):
  """Also those of a run that went on from before streams were told alone."""
  axes = Figure().subplots()
  before = [{'step': -1, **TOGETHER}] if 'loss_video' in scalars else []
  metrics._draw_levels(axes, [*before, {'step': 0, **scalars}, {'step': 7, **scalars}])
  lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
  wanted = {f'{name}, step {step}': values for name, values in drawn.items() for step in (0, 7)}
  assert lines == wanted and axes.lines[0].get_xdata().tolist() == [0.1, 0.9]


def test_a_resumed_log_is_that_of_a_run_never_stopped(tmp_path):
  """Whether it was stopped before or after it looked at held-out clips, and with a line cut off."""

  def write(log: Log, first: int, last: int) -> None:
    for step in range(first, last):
      if step % 2 == 0:
        log.write(step, 'held_out', {'loss': -step})
      log.write(step + 1, 'train', {'loss': step})

  for name in ('whole', '30', '40', '50', '515'):
    (tmp_path / name).mkdir()
  whole = Log(tmp_path / 'whole', 0, 6, speaks=True)
  write(whole, 0, 6)
  for stopped_at, rest in ((3, ''), (4, ''), (5, ''), (5, '{"step": 6, "ki')):
    folder = tmp_path / f'{stopped_at}{len(rest)}'
    first = Log(folder, 0, 6, speaks=True)
    write(first, 0, stopped_at)
    if stopped_at == 4:
      first.write(4, 'held_out', {'loss': -4})
    with (folder / 'metrics.jsonl').open('a') as file:
      file.write(rest)
    saved = stopped_at // 2 * 2
    write(Log(folder, saved, 6, speaks=True), saved, 6)
    assert read(folder) == read(tmp_path / 'whole')


def events(folder):
  """What an event file holds: records of a length, its check sum, the content and its own."""
  (path,) = (folder / 'tensorboard').iterdir()
  content = path.read_bytes()
  while content:
    (size,) = struct.unpack_from('<Q', content)
    yield Event.FromString(content[12 : 12 + size])
    content = content[16 + size :]


def test_tensorboard_is_told_where_a_log_goes_on(tmp_path):
  """It leaves out what was written before at that step and beyond."""
  log = Log(tmp_path, 4, 6, speaks=True)
  log.write(5, 'train', {'loss': 1.0})
  log.close()
  found = list(events(tmp_path))
  (start,) = (e for e in found if e.session_log.status == SessionLog.START)
  assert start.step == 5 == found[-1].step
