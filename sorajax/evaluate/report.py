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
from sorajax.evaluate.benchmark import CHANCE, MODEL, TRUTH, Asked, Kind
from sorajax.evaluate.sync import beyond_chance
from sorajax.media.sheet import contact_sheet

MEASURES: Mapping[str, tuple[str, str]] = {  # of summaries: how each is told, and printed
  'precision': ('strikes that are seen', '{:.3f}'),
  'recall': ('impacts that are heard', '{:.3f}'),
  'sync': ('sync, F1 of both', '{:.3f}'),
  'lag_frames': ('lag of the sound, frames', '{:.2f}'),
  'gravity': ('gravity above the scene’s', '{:+.1%}'),
  'falls': ('clips in which a body falls freely', '{:.3f}'),
  'residual': ('distance of a fall from its parabola, heights', '{:.4f}'),
  'restitution': ('restitution above the material’s', '{:+.2f}'),
  'count': ('frames with the right count', '{:.3f}'),
  'steady': ('clips in which nothing jumps', '{:.3f}'),
  'colours': ('colours of the prompt', '{:.3f}'),
  'shapes': ('shapes of the prompt', '{:.3f}'),
  'materials': ('materials, by their sound', '{:.3f}'),
  'directions': ('directions of the prompt', '{:.3f}'),
  'events': ('events of the prompt in their order', '{:.3f}'),
  'given_db': ('frames given, as they are, dB', '{:.1f}'),
  'words': ('words of the prompt', '{:.3f}'),
  'register': ('low and high voices of the prompt', '{:.3f}'),
  'voice': ('voices of the characters, by a sample', '{:.3f}'),
  'face': ('traits of the faces of the prompt', '{:.3f}'),
  'cut_precision': ('cuts that are asked for', '{:.3f}'),
  'cut_recall': ('cuts asked for that are made', '{:.3f}'),
  'cuts': ('cuts of the storyboard, F1', '{:.3f}'),
  'cast': ('shots with the bodies of the storyboard', '{:.3f}'),
}
PLOTS: Mapping[str, tuple[str, tuple[float, float]]] = {  # of verdicts: how told, and its span
  'lags_frames': ('lag of the sound, frames', (-3, 3)),
  'gravity': ('gravity above the scene’s', (-1, 1)),
  'restitution': ('restitution above the material’s', (-0.8, 0.8)),
  'count': ('share of frames with the right count', (0, 1)),
  'words': ('share of the prompt’s words', (0, 1)),
  'face': ('share of the prompt’s traits of a face', (0, 1)),
  'cast': ('share of the shots with their bodies', (0, 1)),
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
  """What a benchmark found of one kind of prompts.

  Attributes:
    prompts: what was asked for.
    folders: of the clips of each row.
    verdicts: of each row, in the order of the prompts.
    rows: what each row is worth.
    corrected: its sync, if it is judged, where truth is 1 and the sound of another clip 0.
  """

  prompts: Sequence[Asked]
  folders: Mapping[str, Path]
  verdicts: Mapping[str, Sequence[Any]]
  rows: Mapping[str, Any]
  corrected: Mapping[str, float]

  def as_json(self) -> dict[str, Any]:
    """All numbers, fit for json; NaN as null."""
    plain = lambda value: None if isinstance(value, float) and np.isnan(value) else value
    tidy = lambda found: {k: plain(v) for k, v in dataclasses.asdict(found).items()}
    return {
      row: {
        'sync_beyond_chance': self.corrected.get(row), **tidy(found),
        'clips': [tidy(v) for v in self.verdicts[row]],
      }
      for row, found in self.rows.items()
    }  # fmt: skip

  def lines(self) -> Iterator[list[str]]:
    """The cells of a table, its head first; without the measures that nothing tells."""
    yield ['', *self.rows]
    if self.corrected:
      yield ['sync beyond chance', *(f'{self.corrected[row]:.3f}' for row in self.rows)]
    for field in dataclasses.fields(self.rows[TRUTH]):
      if not all(np.isnan(getattr(found, field.name)) for found in self.rows.values()):
        yield [MEASURES[field.name][0], *(cell(found, field.name) for found in self.rows.values())]

  def as_text(self) -> str:
    """The table in Markdown."""
    head, *rest = (f'| {" | ".join(cells)} |' for cells in self.lines())
    return '\n'.join([head, '|---' * (len(self.rows) + 1) + '|', *rest])

  def as_html(self) -> str:
    rows = (''.join(f'<td>{html.escape(cell)}</td>' for cell in cells) for cells in self.lines())
    return f'<table>{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def cell(found: Any, measure: str) -> str:
  """A measure of a row as it is printed; – where nothing tells it."""
  value = getattr(found, measure)
  return '–' if np.isnan(value) else MEASURES[measure][1].format(value)


def of(kind: Kind, prompts: Sequence[Asked], folders: Mapping[str, Path]) -> Found:
  """Judges the clips of each row."""
  verdicts = {row: kind.judged(folder, prompts) for row, folder in folders.items()}
  rows = {row: kind.sum_up(found) for row, found in verdicts.items()}
  corrected = {}
  if hasattr(rows[TRUTH], 'sync'):
    zero, one = rows[CHANCE].sync, rows[TRUTH].sync
    corrected = {row: beyond_chance(found.sync, zero, one) for row, found in rows.items()}
  return Found(prompts, folders, verdicts, rows, corrected)


def page(title: str, found: Mapping[str, Found]) -> str:
  """The whole page: of each kind the table, distributions, and clips beside the true ones.

  Args:
    title: of the page.
    found: of each kind of prompts.
  """
  parts = [f'<h1>{html.escape(title)}</h1>']
  for kind, known in found.items():
    parts += [f'<h2>{html.escape(kind.capitalize())}</h2>', known.as_html()]
    parts += [_image(_distributions(known.verdicts)), *_clips(known)]
  body = '\n'.join(parts)
  return (
    f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    f'<style>{STYLE}</style><body>{body}</body></html>\n'
  )


def _clips(found: Found) -> Iterator[str]:
  """The model's best, median and worst clip beside the true ones."""
  order = np.argsort([-verdict.worth for verdict in found.verdicts[MODEL]])
  shown = {'best': order[0], 'median': order[len(order) // 2], 'worst': order[-1]}
  for name, place in shown.items():
    asked = found.prompts[int(place)]
    yield f'<h3>The {name} clip</h3><p>{html.escape(asked.text)}</p><div class="pair">'
    yield from (_clip(row, benchmark.film(found.folders[row], asked)) for row in (MODEL, TRUTH))
    yield '</div>'


def _clip(row: str, film: Path) -> str:
  film64 = base64.b64encode(film.read_bytes()).decode()
  buffer = io.BytesIO()
  contact_sheet(benchmark.watch(film), row).save(buffer, 'PNG', optimize=True)
  return (
    f'<div><video controls loop src="data:video/mp4;base64,{film64}"></video>'
    f'{_image(buffer.getvalue())}</div>'
  )


def _distributions(verdicts: Mapping[str, Sequence[Any]]) -> bytes:
  """Histograms of what is measured of events and of clips, a line for each row, as png."""
  plots = {name: plot for name, plot in PLOTS.items() if hasattr(verdicts[TRUTH][0], name)}
  drawn = figure.Figure(figsize=(4 * len(plots), 3.2), layout='constrained')
  (axes,) = drawn.subplots(1, len(plots), squeeze=False)
  for axis, (name, (told, span)) in zip(axes, plots.items()):
    for row, found in verdicts.items():
      values = np.concatenate([np.atleast_1d(getattr(v, name)) for v in found]).astype(float)
      known = np.clip(values[~np.isnan(values)], *span)
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
