"""The page's look (CSS) and its one script: values under the pointer."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #ffffff; --ink: #1c1e21; --muted: #5f656c; --rule: #e2e3e5;
  --accent: #2a78d6; --warn: #8a5a00; --warn-bg: #fdf3dc; --right: 42 120 214; --wrong: 232 104 52;
  --s0: #2a78d6; --s1: #e2632a; --s2: #129167; --s3: #7b4fc9; --s4: #c99000; --s5: #cf4187; --s6: #4d8b00; --s7:
  #8a6d5a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131517; --card: #1b1e21; --ink: #e7e8ea; --muted: #9ba1a8; --rule: #30353a;
    --accent: #6aa7f0; --warn: #f0c56c; --warn-bg: #33290f;
    --s0: #5b9df0; --s1: #f08456; --s2: #35b98b; --s3: #a585ea; --s4: #dcae3a; --s5: #e873ad; --s6: #8bbf45;
    --s7: #b9998a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1240px; padding: 28px 28px 56px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
h1 { font-size: 30px; line-height: 1.2; margin: 2px 0 4px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 10px; letter-spacing: -.005em; }
h3 { font-size: 14px; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0 0 12px; max-width: 82ch; }
small { display: block; font-size: 12px; color: var(--muted); }
img { display: block; }
header p { margin: 0; }
section { margin-top: 40px; scroll-margin-top: 12px; }
footer {
  margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--rule); color: var(--muted); font-size: 13px;
}
.brand { font-size: 12px; letter-spacing: .08em; text-transform: uppercase; color: var(--muted); }
.muted, .note { color: var(--muted); }
.note { font-size: 13px; }
nav {
  display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 14px; padding-top: 10px; border-top: 1px solid
  var(--rule);
}
nav a { color: var(--accent); text-decoration: none; font-size: 14px; }
nav a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; }
.verdict { font-size: 16px; border-left: 3px solid var(--accent); padding-left: 14px; }
.verdict strong { display: block; font-size: 20px; line-height: 1.35; }
.badge {
  display: inline-block; margin-left: 8px; padding: 0 7px; border-radius: 9px; font-size: 12px; font-weight: 500;
  color: var(--warn); background: var(--warn-bg);
}
.warned {
  margin: 0; padding: 10px 14px 10px 32px; border-radius: 6px; background: var(--warn-bg); color: var(--warn);
  font-size: 13px;
}
.swatch {
  display: inline-block; width: 18px; margin-right: 7px; vertical-align: middle; border-top: 3px solid var(--c);
}
.swatch.dashed { border-top-style: dashed; }
.swatch.dotted { border-top-style: dotted; }

table { border-collapse: collapse; }
.summary {
  width: 100%; background: var(--card); border: 1px solid var(--rule); font-size: 13.5px; margin-bottom: 10px;
}
.summary th {
  text-align: left; font-size: 12px; font-weight: 500; color: var(--muted); padding: 9px 8px 7px;
  border-bottom: 1px solid var(--rule); vertical-align: bottom;
}
.summary td { padding: 10px 8px; vertical-align: top; border-top: 1px solid var(--rule); }
.summary td:first-child > div { display: flex; align-items: baseline; }
.summary .swatch { flex: none; position: relative; top: -4px; }
.summary .badge { margin: 3px 0 0; }
.summary small, .summary td:nth-child(6), .summary td:last-child { white-space: nowrap; }
.num, .sd { white-space: nowrap; }
.sd { color: var(--muted); font-size: 12px; display: block; }
.main .num { font-weight: 700; }
.main .sd { display: inline; font-size: inherit; }
.dots { display: block; position: relative; height: 9px; margin: 6px 5px 0 4px; min-width: 92px; }
.dots::before {
  content: ""; position: absolute; left: -4px; right: -4px; top: 4px; border-top: 1px solid var(--rule);
}
.dots i {
  position: absolute; top: 0; width: 9px; height: 9px; margin-left: -4.5px; border-radius: 50%; background:
  var(--c); opacity: .75;
}

.gains { font-size: 13.5px; margin: 6px 0 8px; }
.gains :is(th, td) { text-align: left; padding: 5px 16px 5px 0; white-space: nowrap; }
.gains td { border-top: 1px solid var(--rule); }
.gains th { font-size: 12px; font-weight: 500; color: var(--muted); }
.forest { display: block; position: relative; width: 200px; height: 16px; }
.forest > * { position: absolute; }
.forest s { top: -6px; bottom: -6px; border-left: 1px solid var(--muted); }
.forest u { top: 7px; height: 2px; background: var(--accent); }
.forest i { top: 4px; width: 8px; height: 8px; margin-left: -4px; border-radius: 50%; background: var(--accent); }

.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 16px; }
.chart { display: flex; flex-direction: column; justify-content: space-between; margin: 0; padding: 12px 12px 6px;
  background: var(--card); border: 1px solid var(--rule); border-radius: 6px; min-width: 0; }
.chart .note { margin: 0; }
.charts + * { margin-top: 16px; }
.legend {
  display: flex; flex-wrap: wrap; gap: 0 14px; margin: 2px 0 4px; padding: 0; list-style: none; font-size:
  12.5px; color: var(--muted);
}
.legend li { overflow-wrap: anywhere; }
.plot { position: relative; touch-action: pan-y; cursor: crosshair; }
.plot svg { display: block; width: 100%; height: auto; overflow: visible; }
.plot svg text { font-family: inherit !important; }
.plot.wide { display: none; }
@media (min-width: 780px) {
  .hero { grid-column: span 2; }
  .plot.wide { display: block; }
  .plot.narrow { display: none; }
}
.cursor {
  display: none; position: absolute; top: 3%; bottom: 15.5%; border-left: 1px solid var(--muted);
  pointer-events: none;
}
.readout {
  display: none; position: absolute; top: 0; z-index: 1; padding: 5px 9px; border-radius: 5px; pointer-events: none;
  background: var(--card); border: 1px solid var(--rule); box-shadow: 0 2px 8px rgb(0 0 0 / .14); font-size:
  12.5px; white-space: nowrap;
}
.reading .cursor, .reading .readout { display: block; }
.readout b { font-weight: 600; }

.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(360px, 100%), 1fr)); gap: 16px; }
article { min-width: 0; padding: 12px; background: var(--card); border: 1px solid var(--rule); border-radius: 6px; }
article + article { margin-top: 16px; }
.cards article + article { margin-top: 0; }
article h3 { margin-bottom: 8px; }
.matrix { table-layout: fixed; width: 100%; font-size: 11.5px; border-spacing: 2px; border-collapse: separate; }
.matrix th { font-weight: 400; color: var(--muted); padding: 0; }
.matrix thead th:first-child { width: 23%; }
.matrix thead span {
  display: block; writing-mode: vertical-rl; transform: rotate(180deg); margin: 0 auto; max-height: 9em;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.matrix tbody th {
  text-align: right; padding-right: 5px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.matrix td { height: 27px; padding: 0; text-align: center; border-radius: 2px; }
.matrix .right { background: rgb(var(--right) / var(--v)); }
.matrix .wrong { background: rgb(var(--wrong) / calc(var(--v) * .8)); }
.matrix td:empty { background: rgb(128 128 128 / .06); }
.matrix .right.strong { color: #fff; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; }
.key.right { background: rgb(var(--right)); }
.key.wrong { background: rgb(var(--wrong)); }
.heat { margin: 0; }
.heat img { width: 100%; image-rendering: pixelated; border: 1px solid var(--rule); }
.heat figcaption {
  display: flex; justify-content: space-between; font-size: 12px; color: var(--muted); padding-top: 3px;
}
.pairs { width: 100%; margin-top: 12px; font-size: 13px; }
.pairs th { font-size: 12px; font-weight: 500; color: var(--muted); text-align: left; padding: 3px 6px 3px 0; }
.pairs td { padding: 3px 6px 3px 0; border-top: 1px solid var(--rule); overflow-wrap: anywhere; }
.pairs :is(th, td):nth-child(n + 3) { text-align: right; white-space: nowrap; padding-right: 0; padding-left: 6px; }

.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(82px, 1fr)); gap: 12px 10px; }
.pictures figure { margin: 0; min-width: 0; }
.pictures img {
  width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated; background: rgb(128 128 128 /
  .1); border-radius: 3px;
}
.pictures figcaption { font-size: 12px; line-height: 1.35; padding-top: 3px; overflow-wrap: anywhere; }

details { background: var(--card); border: 1px solid var(--rule); border-bottom-width: 0; padding: 0 14px; }
details:last-child { border-bottom-width: 1px; }
summary { cursor: pointer; padding: 8px 0; font-weight: 500; overflow-wrap: anywhere; }
dl {
  display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 3px 18px; margin: 4px 0 12px;
  font-size: 13.5px;
}
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
pre {
  margin: 0 0 14px; padding: 10px 12px; overflow-x: auto; background: var(--page); border-radius: 4px; font:
  12.5px/1.5 ui-monospace, Menlo, Consolas, monospace;
}

@media (max-width: 860px) {
  body { padding: 18px 14px 40px; }
  h1 { font-size: 25px; }
  .summary { border: 0; background: none; }
  .summary thead { display: none; }
  .summary, .summary tbody { display: block; }
  .summary tr {
    display: block; background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: 6px
    12px; margin-bottom: 12px;
  }
  .summary td { display: grid; grid-template-columns: 7.2em 1fr; padding: 4px 0; border: 0; align-items: baseline; }
  .summary td::before { content: attr(data-label); color: var(--muted); font-size: 13px; }
  .sd { display: inline; margin-left: 6px; }
  .summary td:first-child { display: block; font-size: 16px; padding-top: 6px; }
  .summary td:first-child::before { content: none; }
  .summary td:nth-child(1n) { white-space: normal; }
  .dots { max-width: 190px; }
  .gains :is(th, td):is(:nth-child(2), :nth-child(4)) { display: none; }
  .gains :is(th, td) { white-space: normal; padding-right: 12px; }
  .forest { width: 110px; }
}
@media print {
  body { max-width: none; padding: 0; background: none; }
  section, article, figure { break-inside: avoid; }
  nav { display: none; }
}
"""

SCRIPT = """
for (const plot of document.querySelectorAll("[data-chart]")) {
  const chart = JSON.parse(plot.dataset.chart), readout = plot.querySelector(".readout");
  const epochs = [...new Set(chart.lines.flatMap(line => line.x))];
  const [low, high] = chart.limits, [left, right] = chart.span;
  const show = event => {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const at = low + (high - low) * (share - left) / (right - left);
    const epoch = epochs.reduce((best, x) => Math.abs(x - at) < Math.abs(best - at) ? x : best);
    const place = left + (right - left) * (epoch - low) / (high - low);
    const rows = [document.createElement("b")];
    rows[0].textContent = chart.axis + " " + epoch;
    for (const line of chart.lines) {
      const i = line.x.indexOf(epoch);
      if (i < 0 || line.y[i] === null) continue;
      const row = document.createElement("div"), swatch = document.createElement("i");
      swatch.className = "swatch";
      swatch.style.setProperty("--c", "var(--" + line.slot + ")");
      row.append(swatch, line.label + "  " + line.y[i] + (line.sd[i] ? " ± " + +line.sd[i].toPrecision(2) : ""));
      rows.push(row);
    }
    readout.replaceChildren(...rows);
    plot.querySelector(".cursor").style.left = 100 * place + "%";
    readout.style.left = place < .5 ? "calc(" + 100 * place + "% + 10px)" : "auto";
    readout.style.right = place < .5 ? "auto" : "calc(" + 100 * (1 - place) + "% + 10px)";
    plot.classList.add("reading");
  };
  plot.addEventListener("pointermove", show);
  plot.addEventListener("pointerdown", show);
  plot.addEventListener("pointerleave", () => plot.classList.remove("reading"));
}
"""
