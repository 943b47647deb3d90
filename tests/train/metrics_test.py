from sorajax.train.metrics import Log, read


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
