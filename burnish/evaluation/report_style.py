"""The style sheet of a report: system fonts, one accent colour, light, dark and paper."""

from __future__ import annotations

from burnish.evaluation import chart

# Every pair of text and background below has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3), by test.
LIGHT = {
    "paper": "#fbfaf8",
    "card": "#ffffff",
    "ink": "#201d1a",
    "muted": "#635d57",
    "line": "#e4dfd8",
    "accent": "#95520f",
    "soft": "#f6eee4",
    "good": "#1d6b43",
    "bad": "#a3302a",
}
DARK = {
    "paper": "#161412",
    "card": "#1f1c19",
    "ink": "#eeeae5",
    "muted": "#aca49b",
    "line": "#3a352f",
    "accent": "#e3a45c",
    "soft": "#2c251d",
    "good": "#74c798",
    "bad": "#f0958d",
}


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


_PAGE = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
header, main, footer { max-width: 66rem; margin: 0 auto; padding: 0 1.5rem; }
header { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; align-items: baseline; padding-top: 1.6rem;
  color: var(--muted); font-size: .9rem; }
header strong { color: var(--accent); font-size: 1.05rem; letter-spacing: .01em; }
footer { color: var(--muted); font-size: .875rem; padding-bottom: 3rem; }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; } .skip:focus { left: 1rem; top: 1rem; background: var(--card); }
h1 { font-size: clamp(1.9rem, 5.2vw, 3rem); line-height: 1.12; letter-spacing: -.022em; font-weight: 680;
  margin: 0 0 1rem; text-wrap: balance; }
h2 { font-size: 1.4rem; line-height: 1.25; letter-spacing: -.012em; margin: 0 0 .9rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .5rem; }
p { margin: 0 0 1rem; max-width: 44rem; text-wrap: pretty; }
ul { margin: 0 0 1rem; padding-left: 1.2rem; max-width: 44rem; }
.note { color: var(--muted); font-size: .925rem; }
.tag { display: inline-block; border: 1.5px solid currentColor; border-radius: 99px; padding: .1rem .8rem;
  font-size: .875rem; font-weight: 600; margin: 0 0 1.1rem; color: var(--muted); }
.better { color: var(--good); } .worse { color: var(--bad); }
.verdict { padding: 2.6rem 0 0; }
.lead { font-size: 1.175rem; line-height: 1.55; max-width: 48rem; }
.advice { border-left: 3px solid var(--accent); background: var(--soft); padding: .9rem 1.2rem; max-width: 48rem;
  border-radius: 0 8px 8px 0; margin: 1.4rem 0 0; }
.advice + p { margin-top: 1rem; }
nav { margin: 2.2rem 0 0; padding: .8rem 0; border-block: 1px solid var(--line); font-size: .925rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; list-style: none; margin: 0; padding: 0; max-width: none; }
nav a { text-decoration: none; display: inline-block; padding: .15rem 0; } nav a:hover { text-decoration: underline; }
main > section:not(.verdict) { padding: 2.6rem 0 1.4rem; border-bottom: 1px solid var(--line); }
main > section:last-child { border-bottom: 0; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 1rem; margin: 1.6rem 0; }
.numbers div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1.1rem; }
.numbers dt { color: var(--muted); font-size: .875rem; line-height: 1.35; }
.numbers dd { margin: .25rem 0 0; font-size: 1.55rem; font-weight: 640; line-height: 1.25; letter-spacing: -.01em; }
.numbers small { display: block; font-size: .8125rem; font-weight: 400; color: var(--muted); letter-spacing: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.6rem 2.4rem;
  margin: 1.2rem 0 1.6rem; }
figure { margin: 0; max-width: 34rem; min-width: 0; }
.scroll { overflow-x: auto; margin: 1rem 0 1.4rem; }
table { border-collapse: collapse; font-size: .925rem; line-height: 1.45; width: 100%; overflow-wrap: normal; }
caption { text-align: left; color: var(--muted); font-size: .875rem; padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem 1.1rem .5rem 0; border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: .25rem; }
thead th { font-size: .8125rem; font-weight: 600; color: var(--muted); vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 8rem; max-width: 24rem; overflow-wrap: anywhere; }
td { min-width: 7.5rem; } td.number { min-width: 3.2rem; }
td small, th small { display: block; color: var(--muted); font-weight: 400; font-size: .8125rem; }
small.what { min-width: 8rem; max-width: 26rem; }
.number { text-align: right; white-space: nowrap; }
table, dl, .errors { font-variant-numeric: tabular-nums; }
tr.strong > * { background: var(--soft); font-weight: 640; }
tr.strong > :first-child { box-shadow: inset 3px 0 0 var(--accent); padding-left: .8rem; }
.heat { width: auto; }
.heat td { min-width: 2.6rem; white-space: nowrap; padding: .4rem .3rem; border: 1px solid var(--paper); }
.heat thead th { padding: .3rem; } .heat tbody th { max-width: 16rem; padding: .4rem 1rem .4rem 0; }
abbr { text-decoration: none; }
.facts { margin: .6rem 0 1.4rem; max-width: 48rem; }
.facts div { display: grid; grid-template-columns: minmax(9rem, 14rem) 1fr; gap: .1rem 1.2rem; padding: .38rem 0;
  border-bottom: 1px solid var(--line); }
.facts dt { color: var(--muted); } .facts dd { margin: 0; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .875em; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1.1rem;
  overflow-x: auto; line-height: 1.55; font-size: .875rem; overflow-wrap: normal; }
pre code { font-size: 1em; }
.hash { color: var(--muted); }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--accent); font-weight: 560; padding: .2rem 0; }
.errors { list-style: none; margin: 1.2rem 0; padding: 0; max-width: 52rem; }
.errors li { border-top: 1px solid var(--line); padding: .85rem 0; }
.errors q { display: block; quotes: none; font-size: 1.0125rem; }
.errors span { display: block; margin-top: .3rem; font-size: .925rem; color: var(--muted); }
.errors img { float: left; margin: 0 1rem .25rem 0; } .errors li { overflow: hidden; }
.errors img, .sheet img { width: 72px; height: auto; border-radius: 4px; background: var(--line); }
.sheet div { border-top: 1px solid var(--line); padding: .6rem 0; } .sheet dt { font-weight: 600; }
.sheet dd { margin: .3rem 0 0; display: flex; flex-wrap: wrap; gap: .5rem; }
.errors b { color: var(--ink); font-weight: 600; }
@media (max-width: 34rem) {
  header, main, footer { padding-inline: 1.05rem; }
  th, td { padding-right: .7rem; }
  .facts div { grid-template-columns: 1fr; }
  .numbers { grid-template-columns: 1fr 1fr; gap: .7rem; } .numbers dd { font-size: 1.25rem; }
  .numbers div { padding: .7rem .8rem; }
}
@media print {
  :root { color-scheme: light; }
  body { font-size: 10.5pt; background: none; } nav, .skip { display: none; }
  header, main, footer { max-width: none; padding-inline: 0; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .scroll, pre { overflow: visible; } pre { white-space: pre-wrap; }
  details pre { columns: 2; font-size: 8pt; line-height: 1.4; }
  figure, .numbers div, .errors li, tr, .advice { break-inside: avoid; } h2, h3, caption { break-after: avoid; }
  thead + tbody tr:nth-child(-n+2) { break-before: avoid; }
  td { min-width: 0; } tbody th { overflow-wrap: break-word; }
  tr.strong > :first-child { box-shadow: none; border-left: 3px solid var(--accent); }
  .heat, .advice, tr.strong { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main > section:not(.verdict) { padding: 1.4rem 0 .6rem; }
}
"""

STYLE = (
    f":root {{ color-scheme: light dark; {_variables(LIGHT)} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
    f"@media (prefers-reduced-motion: reduce) {{ html {{ scroll-behavior: auto; }} }}"
    f"{_PAGE}{chart.STYLE}"
)
