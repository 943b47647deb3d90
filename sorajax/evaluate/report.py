"""The page on which a benchmark can be looked at: one HTML file that needs nothing else."""

import base64
import dataclasses
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import figure

from sorajax.evaluate import benchmark
from sorajax.evaluate.benchmark import CHANCE, MODEL, TRUTH, Prompt
from sorajax.evaluate.judges import Summary, Verdict, summary
from sorajax.evaluate.sync import beyond_chance
from sorajax.media.sheet import contact_sheet

MEASURES: Mapping[str, tuple[str, str]] = {  # of `Summary`: how it is told, and printed
  'precision': ('strikes that are seen', '{:.3f}'),
  'recall': ('impacts that are heard', '{:.3f}'),
  'sync': ('sync, F1 of both', '{:.3f}'),
  'lag_frames': ('lag of the sound, frames', '{:.2f}'),
  'gravity': ('gravity above the scene’s', '{:+.1%}'),
  'residual': ('distance of a fall from its parabola, heights', '{:.4f}'),
  'restitution': ('restitution above the material’s', '{:+.2f}'),
  'count': ('frames with the right count', '{:.3f}'),
  'steady': ('clips in which nothing jumps', '{:.3f}'),
  'colours': ('colours of the prompt', '{:.3f}'),
  'shapes': ('shapes of the prompt', '{:.3f}'),
  'materials': ('materials, by their sound', '{:.3f}'),
  'directions': ('directions of the prompt', '{:.3f}'),
  'events': ('events of the prompt in their order', '{:.3f}'),
  'words': ('words of the prompt', '{:.3f}'),
  'register': ('low and high voices of the prompt', '{:.3f}'),
  'voice': ('voices of the characters, by a sample', '{:.3f}'),
  'face': ('traits of the faces of the prompt', '{:.3f}'),
  'cuts': ('cuts of the storyboard, F1', '{:.3f}'),
  'cast': ('shots with the bodies of the storyboard', '{:.3f}'),
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
  color: #282a2e; background: #fafaf8 }
table { border-collapse: collapse } td { padding: .2rem .8rem; text-align: right }
td:first-child { text-align: left } tr:first-child { font-weight: 600 }
tr:nth-child(even) { background: #eef0f3 }
.pair { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1rem 0 2.5rem }
.pair > div { width: 35rem } img, video { width: 100%; image-rendering: pixelated }
"""


@dataclasses.dataclass(frozen=True)
class Found:
  """What a benchmark found.

  Attributes:
    verdicts: of each row, in the order of the prompts.
    rows: what each row is worth.
    corrected: its sync on a scale on which truth is 1 and the sound of another clip 0.
  """

  verdicts: Mapping[str, Sequence[Verdict]]
  rows: Mapping[str, Summary]
  corrected: Mapping[str, float]

  def as_json(self) -> dict[str, Any]:
    """All numbers, fit for json; NaN as null."""
    plain = lambda value: None if isinstance(value, float) and np.isnan(value) else value
    tidy = lambda found: {k: plain(v) for k, v in dataclasses.asdict(found).items()}
    return {
      row: {
        'sync_beyond_chance': self.corrected[row], **tidy(found),
        'clips': [tidy(v) for v in self.verdicts[row]],
      }
      for row, found in self.rows.items()
    }  # fmt: skip

  def lines(self) -> Iterator[list[str]]:
    """The cells of a table, its head first."""
    yield ['', *self.rows]
    yield ['sync beyond chance', *(f'{self.corrected[row]:.3f}' for row in self.rows)]
    for name, (told, _) in MEASURES.items():
      yield [told, *(cell(found, name) for found in self.rows.values())]

  def as_text(self) -> str:
    """The table in Markdown."""
    head, *rest = (f'| {" | ".join(cells)} |' for cells in self.lines())
    return '\n'.join([head, '|---' * (len(self.rows) + 1) + '|', *rest])

  def as_html(self) -> str:
    rows = (''.join(f'<td>{html.escape(cell)}</td>' for cell in cells) for cells in self.lines())
    return f'<table>{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def cell(found: Summary, measure: str) -> str:
  """A measure of a row as it is printed; – where nothing tells it."""
  value = getattr(found, measure)
  return '–' if np.isnan(value) else MEASURES[measure][1].format(value)


def of(verdicts: Mapping[str, Sequence[Verdict]]) -> Found:
  """Sums up the verdicts of each row."""
  rows = {row: summary(found) for row, found in verdicts.items()}
  zero, one = rows[CHANCE].sync, rows[TRUTH].sync
  return Found(verdicts, rows, {r: beyond_chance(s.sync, zero, one) for r, s in rows.items()})


def page(title: str, found: Found, prompts: Sequence[Prompt], folders: Mapping[str, Path]) -> str:
  """The whole page: the table, distributions, and the model's clips beside the true ones.

  Args:
    title: of the page.
    found: by the judges.
    prompts: what was asked for.
    folders: of the clips of each row.
  """
  parts = [f'<h1>{html.escape(title)}</h1>', found.as_html()]
  parts.append(f'<h2>Distributions</h2>{_image(_distributions(found.verdicts))}')
  order = np.argsort([-worth(v) for v in found.verdicts[MODEL]])
  shown = {'best': order[0], 'median': order[len(order) // 2], 'worst': order[-1]}
  for name, place in shown.items():
    asked = prompts[int(place)]
    parts.append(f'<h2>The {name} clip</h2><p>{html.escape(asked.text)}</p><div class="pair">')
    parts += [_clip(row, benchmark.film(folders[row], asked)) for row in (MODEL, TRUTH)]
    parts.append('</div>')
  body = '\n'.join(parts)
  return (
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    f'<style>{STYLE}</style><body>{body}</body></html>\n'
  )


def worth(verdict: Verdict) -> float:
  """One number to sort clips by: what is right of what was asked for."""
  known = [verdict.sync.f1, verdict.count, verdict.colours, verdict.shapes]
  known += [x for x in (verdict.materials, verdict.directions) if not np.isnan(x)]
  return float(np.mean(known)) - 0.2 * (verdict.jumps > 0)


def _clip(row: str, film: Path) -> str:
  film64 = base64.b64encode(film.read_bytes()).decode()
  buffer = io.BytesIO()
  contact_sheet(benchmark.watch(film), row).save(buffer, 'PNG', optimize=True)
  return (
    f'<div><video controls loop src="data:video/mp4;base64,{film64}"></video>'
    f'{_image(buffer.getvalue())}</div>'
  )


def _distributions(verdicts: Mapping[str, Sequence[Verdict]]) -> bytes:
  """Histograms of what is measured of events and of clips, a line for each row, as png."""
  joined = lambda name: {
    row: [x for v in found for x in getattr(v, name)] for row, found in verdicts.items()
  }
  every = lambda name: {row: [getattr(v, name) for v in found] for row, found in verdicts.items()}
  plots = (
    ('lag of the sound, frames', joined('lags_frames'), (-3, 3)),
    ('gravity above the scene’s', every('gravity'), (-1, 1)),
    ('restitution above the material’s', joined('restitution'), (-0.8, 0.8)),
    ('share of frames with the right count', every('count'), (0, 1)),
  )
  drawn = figure.Figure(figsize=(12, 6), layout='constrained')
  for axis, (told, values, span) in zip(drawn.subplots(2, 2).flat, plots):
    for row, found in values.items():
      known = np.clip(np.array(found, float)[~np.isnan(found)], *span) if len(found) else []
      if len(known):
        weights = np.full(len(known), 1 / len(known))
        axis.hist(known, 31, span, weights=weights, histtype='step', label=row)
    axis.set(xlabel=told, ylabel='share')
  drawn.axes[0].legend(fontsize=8)
  buffer = io.BytesIO()
  drawn.savefig(buffer, format='png', dpi=90)
  return buffer.getvalue()


def _image(png: bytes) -> str:
  return f'<img src="data:image/png;base64,{base64.b64encode(png).decode()}" alt="">'
