"""The frame of a report's page: one file, no script, nothing fetched; light or dark as the reader's system is."""

from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --paper: #fff; --sheet: #f6f7f9; --ink: #1c2530; --soft: #5b6675; --line: #d9dee5;
  --spatial: #0072b2; --temporal: #d55e00; --fused: #009e73; --deep: #fff; --alarm: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --sheet: #1d232b; --ink: #e6eaf0; --soft: #9aa7b6; --line: #343d49;
    --spatial: #56b4e9; --temporal: #ff9147; --fused: #3ccfa3; --deep: #10151a; --alarm: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
small, .protocol, caption, figcaption { color: var(--soft); font-size: .85rem; }
.alarm { color: var(--alarm); font-weight: 600; }
nav { margin: .8rem 0 0; display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .9rem; }
a { color: var(--spatial); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .7rem; margin: 1rem 0; }
.card { background: var(--sheet); border-radius: .5rem; padding: .7rem .9rem; border-top: 4px solid var(--line); }
.card.spatial { border-color: var(--spatial); } .card.temporal { border-color: var(--temporal); }
.card.fused { border-color: var(--fused); }
.card b { display: block; font-size: 1.8rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card small { display: block; line-height: 1.35; margin-top: .2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: baseline; }
th:first-child { text-align: left; font-weight: 500; min-width: 6.5rem; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem; }
.text td, .text th { text-align: left; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); } svg .end { text-anchor: end; } svg .field { fill: var(--sheet); }
svg .right { fill: var(--spatial); } svg .wrong { fill: var(--temporal); }
svg .count { text-anchor: middle; } svg .count.deep { fill: var(--deep); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .85rem; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px;
  background: var(--line); }
.key.spatial::before { background: var(--spatial); } .key.temporal::before { background: var(--temporal); }
.key.fused::before { background: var(--fused); }
.classes { columns: 27rem 2; column-gap: 2.5rem; }
.class { break-inside: avoid; padding: .35rem 0; border-bottom: 1px solid var(--line); }
.class .name { font-size: .9rem; overflow-wrap: anywhere; }
.bar { display: flex; align-items: center; height: .8rem; gap: .4rem; padding-right: 3.4rem; }
.bar i { height: .55rem; min-width: 1px; border-radius: 0 2px 2px 0; background: var(--line); }
.bar b { font-weight: 400; font-size: .72rem; color: var(--soft); margin-right: -3.2rem; white-space: nowrap; }
.bar.spatial i { background: var(--spatial); } .bar.temporal i { background: var(--temporal); }
.bar.fused i { background: var(--fused); }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1rem; }
.clip { background: var(--sheet); border-radius: .5rem; padding: .8rem .9rem; margin: 0; min-width: 0; }
.clip img { display: block; width: 100%; height: auto; border-radius: .25rem; }
.clip figure { margin: .6rem 0 0; } .clip dl { margin: .2rem 0 0; font-size: .85rem; color: var(--soft); }
.clip dt { display: inline; } .clip dd { display: inline; margin: 0; color: var(--ink); overflow-wrap: anywhere; }
.wheel { width: 4.5rem; height: 4.5rem; float: right; margin: 0 0 .5rem 1rem; }
details summary { cursor: pointer; color: var(--soft); }
code { font-size: .9em; overflow-wrap: anywhere; }
</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="protocol">$subtitle</p>
$notes
<nav>$links</nav>
</header>
<main>
$sections
</main>
</body>
</html>
""")
