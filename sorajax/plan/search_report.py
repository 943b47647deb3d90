"""What a search says, as text."""

import math
from collections.abc import Iterator, Sequence

from sorajax.plan.plan import Place, Tried
from sorajax.plan.planned import Plan
from sorajax.plan.report import GIB
from sorajax.plan.work import Step

SHOWN = 10  # of those that fit by formula


def text(tried: Sequence[Tried], place: Place) -> str:
  """The best few in lines: those that are compiled by their programs, all others by formula."""
  return '\n'.join(_lines(tried, place)) + '\n'


def best(tried: Sequence[Tried]) -> Tried | None:
  """The fastest for each clip among those that are compiled and fit."""
  done = [one for one in tried if one.plan]
  return min(done, key=_seconds) if done else None


def plans(tried: Sequence[Tried]) -> list[Plan]:
  """That of the best alone; none where none fits or is compiled."""
  chosen = best(tried)
  return [chosen.plan] if chosen and chosen.plan else []


def _lines(tried: Sequence[Tried], place: Place) -> Iterator[str]:
  fits = [one for one in tried if one.candidate.memory.peak <= place.room]
  asked = [one for one in tried if one.plan or one.refusal]
  what = 'meshes, remat policies and rows' if _trains(tried) else 'meshes and rows'
  yield (
    f'{place.name} on {place.where}: {len(tried)} {what} divide, {len(fits)} fit by formula, '
    f'{len(asked)} compiled'
  )
  yield ''
  yield f'{"":48}{"by formula":>18}{"compiled":>18}'
  head = f'{"data":>5}{"fsdp":>6}{"context":>9}{"tensor":>8}  {"remat":<8}{"rows":>8}'
  yield f'{head}{"s a clip":>12}{"GiB":>8}{"s a clip":>10}{"GiB":>8}'
  others = [one for one in fits if one not in asked]
  for one in [*sorted(asked, key=_seconds), *others][: max(SHOWN, len(asked))]:
    yield _line(one)
  chosen = best(tried)
  if chosen:
    yield ''
    yield f'fastest of the compiled: {chosen.candidate.flags}'
  if not fits:
    least = min(one.candidate.memory.peak for one in tried) / GIB
    yield f'none fits by formula: the least needs {least:.1f} GiB of {place.room / GIB:.1f}'


def _line(one: Tried) -> str:
  own = one.candidate.of
  mesh, remat = own.settings.mesh, own.settings.transformer.remat if _trains([one]) else ''
  sizes = f'{mesh.data:>5}{mesh.fsdp:>6}{mesh.context:>9}{mesh.tensor:>8}'
  rule = f'{one.candidate.seconds:>12.3g}{one.candidate.memory.peak / GIB:>8.1f}'
  made = ''
  if one.plan:
    made = f'{_seconds(one):>10.3g}{one.plan.compiled.memory.peak / GIB:>8.1f}'
  return (
    f'{sizes}  {remat:<8}{own.bucket.rows:>8}{rule}{made or "  " * bool(one.refusal)}{one.refusal}'
  )


def _seconds(one: Tried) -> float:
  """For each clip, as compiled; endless where it does not fit."""
  return one.plan.estimate.seconds / one.candidate.of.clips if one.plan else math.inf


def _trains(tried: Sequence[Tried]) -> bool:
  return isinstance(tried[0].candidate.of, Step)
