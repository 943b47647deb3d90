"""What a plan says, as text and as a page."""

import dataclasses
import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sorajax.media.atomic import make_folder, write_text
from sorajax.plan.advice import TIGHT, advice
from sorajax.plan.estimate import Assumptions
from sorajax.plan.planned import Plan

GIB = 2**30
HUES = ('#4477aa', '#66ccee', '#228833', '#ccbb44', '#ee6677', '#aa3377', '#bbbbbb')


def text(plan: Plan) -> str:
  """The plan in lines."""
  return '\n'.join(_lines(plan)) + '\n'


def _lines(plan: Plan) -> Iterator[str]:
  yield _title(plan)
  made = plan.compiled
  yield (
    f'{made.parameters / 1e9:.3f} billion parameters; compiled in {made.seconds:.0f} s, with '
    f'{made.resident / GIB:.1f} GiB of the memory here at most'
  )
  yield ''
  yield 'a device holds, at most         GiB'
  for name, size in plan.memory():
    yield f'  {name:<26}{size / GIB:>9.2f}'
  yield f'  {"peak":<26}{plan.compiled.memory.peak / GIB:>9.2f}   {_verdict(plan)}'
  if plan.compiled.memory.offloaded:
    yield f'  {"beside, in that of the host":<26}{plan.compiled.memory.offloaded / GIB:>9.2f}'
  yield ''
  yield f'{f"a {plan.work.run} takes, by estimate":<36}{"s":>9}'
  for name, seconds in plan.times():
    yield f'  {name:<34}{seconds:>9.3f}'
  yield f'  {plan.work.run:<34}{plan.estimate.seconds:>9.3f}   {_bound(plan)}'
  yield ''
  for name, value in _figures(plan):
    yield f'  {name:<34}{value}'
  yield ''
  yield f'{f"collectives, in a {plan.work.run}":<48}{"GiB":>8} {"s":>8}'
  for (kind, axes, apart), (size, seconds) in sorted(plan.estimate.by_collective.items()):
    where = f'{kind} over {"+".join(axes) or "all"}{", beside" if apart else ""}'
    yield f'  {where:<46}{size / GIB:>8.2f} {seconds:>8.3f}'
  yield ''
  yield from [*advice(plan), ''] if any(advice(plan)) else ()
  yield _assumed(plan.assume)


def _title(plan: Plan) -> str:
  mesh = ' '.join(f'{axis}={size}' for axis, size in plan.compiled.mesh.items())
  return f'{plan.name} on {plan.where}: {plan.chips} chips, {mesh}, {plan.work.title}'


def _verdict(plan: Plan) -> str:
  whole = f'of {plan.chip.memory / plan.chip.devices / GIB:.0f}'
  if plan.room < TIGHT:
    return f'{whole}: fits with {100 * plan.room:.0f} % to spare, which is tight'
  return f'{whole}: fits with {100 * plan.room:.0f} % to spare'


def _bound(plan: Plan) -> str:
  name, most = max(plan.times(), key=lambda pair: pair[1])
  return f'{100 * most / plan.estimate.seconds:.0f} % of it {name}'


def _figures(plan: Plan) -> Iterator[tuple[str, str]]:
  seconds = plan.estimate.seconds
  twice = ', with recomputation' if plan.work.flops().total > plan.work.useful() else ''
  yield 'model FLOPs utilisation', f'{100 * plan.mfu:.0f} %'
  yield 'TFLOPs a device, by formula', f'{plan.work.flops().total / plan.devices / 1e12:.2f}{twice}'
  yield 'TFLOPs a device, in the program', f'{plan.estimate.flops / 1e12:.2f}'
  yield from plan.work.figures(seconds)
  if plan.price:
    an_hour = plan.price * plan.chips
    yield 'cost a day', f'{24 * an_hour:,.0f} at {plan.price:g} a chip-hour'
    yield 'cost a clip', f'{an_hour * seconds / 3600 / plan.work.clips:.4g}'


def _assumed(assume: Assumptions) -> str:
  shares = dataclasses.asdict(assume)
  parts = [
    f'{name} {100 * shares[name]:.0f} %' for name in ('matmuls', 'kernels', 'memory', 'links')
  ]
  host = f'{assume.host / 1e9:.0f} GB/s to the memory of the host'
  return f'Assumed, of what chips do at most: {", ".join(parts)}; {host}. No chip was asked.'


def page(plan: Plan) -> str:
  """The plan as a page of HTML that needs nothing else."""
  room = plan.chip.memory / plan.chip.devices
  rows = ''.join(f'<tr><td>{html.escape(n)}<td>{html.escape(v)}' for n, v in _figures(plan))
  collectives = ''.join(
    f'<tr><td>{kind}<td>{"+".join(axes)}<td>{"beside" if apart else ""}<td>{size / GIB:.2f}'
    f'<td>{seconds:.3f}'
    for (kind, axes, apart), (size, seconds) in sorted(plan.estimate.by_collective.items())
  )
  offloaded = plan.compiled.memory.offloaded
  beside = f'<p>{offloaded / GIB:.2f} GiB beside, in that of the host</p>' if offloaded else ''
  told = ''.join(f'<p><b>{html.escape(line)}</b>' for line in advice(plan))
  return (
    '<!doctype html><meta charset=utf-8><title>' + html.escape(plan.name) + '</title><style>'
    'body{font:15px system-ui;max-width:60em;margin:2em auto;padding:0 1em}'
    'td,th{padding:.2em 1em .2em 0;text-align:left}.bar{display:flex;height:2em;background:#eee}'
    '.bar div{overflow:hidden}'
    '.key span{display:inline-block;width:1em;height:1em;margin:0 .3em 0 1em}'
    f'</style><h1>{html.escape(_title(plan))}</h1>'
    f'<h2>Memory of a device: {plan.compiled.memory.peak / GIB:.1f} GiB {_verdict(plan)}</h2>'
    f'{_bar(plan.memory(), room, GIB, "GiB")}{beside}'
    f'<h2>A {plan.work.run}: {plan.estimate.seconds:.2f} s by estimate, '
    f'{html.escape(_bound(plan))}</h2>'
    f'{_bar(plan.times(), plan.estimate.seconds, 1, "s")}<h2>Figures</h2><table>{rows}</table>'
    '<h2>Collectives</h2><table><tr><th>kind<th>axes<th><th>GiB<th>s'
    f'{collectives}</table>{told}<p>{html.escape(_assumed(plan.assume))}</p>'
  )


def _bar(parts: list[tuple[str, float]], whole: float, unit: Any, name: str) -> str:
  cells = ''.join(
    f'<div style="width:{100 * size / whole:.2f}%;background:{hue}"></div>'
    for (_, size), hue in zip(parts, HUES)
  )
  keys = ''.join(
    f'<span style="background:{hue}"></span>{html.escape(label)} {size / unit:.2f} {name}'
    for (label, size), hue in zip(parts, HUES)
  )
  return f'<div class=bar>{cells}</div><p class=key>{keys}</p>'


def write(plan: Plan, folder: Path) -> Path:
  """Writes the page into a folder, and the program beside it; returns the page's path."""
  place = plan.where.replace(':', '-').replace(' ', '-')
  made = make_folder(folder) / f'{plan.name}-{place}{plan.work.ending}.html'
  write_text(made, page(plan))
  write_text(made.with_suffix('.hlo.txt'), plan.compiled.program.text)
  return made
