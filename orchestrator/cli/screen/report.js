"use strict";
// Draws what orchestrator tells it: a "live" document, a "past" one, and the "tasks" that can be opened.  They stand in this file, or
// come again and again as scripts beside it, each of which is one call of orchestrator(document).  All texts are set as text.  Objects
// that are asked for others' names have no prototype: a task may be called constructor.
const $ = id => document.getElementById(id), SVG = document.querySelector("svg").namespaceURI;
const base = document.body.dataset.base, known = {live: null, past: null, tasks: {__proto__: null}}, drawn = {};
const address = new URLSearchParams(location.hash.slice(1)), STEP = 200;
const narrow = matchMedia("(max-width: 34rem)"), CARDS = () => narrow.matches ? 3 : 8;
const room = name => Math.max(280, $(name).clientWidth);  // pixels: what is drawn for them keeps the size of its words
const SIGNS = {__proto__: null, running: "▶", retrying: "▶", waiting: "·", asks: "?", review: "?", done: "✓", succeeded: "✓", failed: "✗", invalid: "✗", timed_out: "✗", lost: "✗", cancelled: "○", held: "‖", budget: "$"};
const COLOUR = {__proto__: null, succeeded: "var(--good)", done: "var(--good)", running: "var(--live)", retrying: "var(--live)", cancelled: "var(--warn)", review: "var(--warn)", asks: "var(--warn)", held: "var(--warn)", waiting: "var(--c7)"};
const colour = word => COLOUR[word] || "var(--bad)";

function el(name, facts, ...inside) {
  const made = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(facts || {})) {
    if (value == null) continue;
    if (key === "onclick") made.addEventListener("click", value); else made.setAttribute(key, value);
  }
  made.append(...inside.filter(part => part != null && part !== ""));
  return made;
}
function span(s) {
  if (s == null) return ""; if (s < 1) return Math.round(s * 1000) + "ms"; if (s < 60) return s.toFixed(s < 10 ? 1 : 0) + "s";
  const m = Math.floor(s / 60); return m < 60 ? m + "m" + String(Math.floor(s % 60)).padStart(2, "0") + "s" : Math.floor(m / 60) + "h" + String(m % 60).padStart(2, "0") + "m";
}
function age(s) { return s < 60 ? Math.max(0, Math.round(s)) + " s" : s < 3600 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " days"; }
function count(n) { return !n ? "" : n >= 1e9 ? (n / 1e9).toFixed(1) + "G" : n >= 1e6 ? (n / 1e6).toFixed(1) + "M" : n >= 1e3 ? (n / 1e3).toFixed(1) + "k" : String(n); }
function money(v) { return v == null ? "" : "$" + v.toFixed(2); }
const two = n => String(n).padStart(2, "0");
function clock(moment) { const d = new Date(moment); return two(d.getHours()) + ":" + two(d.getMinutes()); }
function day(moment) { const d = new Date(moment); return d.getFullYear() + "-" + two(d.getMonth() + 1) + "-" + two(d.getDate()) + " " + clock(moment); }
const now = () => Date.now() / 1000, seconds = ts => Date.parse(ts) / 1000;

// -- parts that are drawn again only when what they show has changed ----------------------------------------------------------------
function part(name, facts, draw) {
  const key = JSON.stringify(facts);
  if (drawn[name] === key) return;
  drawn[name] = key;
  $(name).replaceChildren(...[draw(facts)].flat().filter(Boolean));
}
function link(id, text) {
  return known.tasks[id] ? el("button", {class: "link", onclick: () => openTask(id)}, text || id) : text || id;
}
function command(words) {
  const button = el("button", {class: "push", "aria-label": "Copy: " + words, onclick: async () => {
    try { await navigator.clipboard.writeText(words); button.textContent = "copied"; } catch { button.textContent = "not copied"; }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  }}, "copy");
  return [el("code", {class: "run"}, words), " ", button];
}
function cell(name, kind, ...inside) { return el("td", {class: kind || null, "data-name": name}, ...inside.flat()); }

function drawNeeds(needs) {
  if (!needs.length) return [el("h2", {}, "Needs you"), el("p", {}, "Nothing waits for you.")];
  const body = needs.map(need => el("tr", {},
    cell("task", need.kind, SIGNS[need.kind] || "!", " ", link(need.id)), cell("kind", "", need.kind),
    cell("why", "wide", need.title ? need.title + " · " : "", need.why || "", need.said ? el("p", {}, need.said) : ""),
    cell("for", "n", need.since ? age(now() - seconds(need.since)) : ""), cell("next", "", command("orchestrator " + need.command))));
  return [el("h2", {}, "Needs you " + needs.length), el("div", {class: "scroll"}, el("table", {class: "rows needs"}, el("tbody", {}, ...body)))];
}
function card(row, word) {
  const facts = [row.agent, row.duration_s != null ? span(row.duration_s) : "", money(row.cost_usd), row.insertions != null ? "+" + row.insertions + " -" + (row.deletions || 0) : "", ...(row.checks || [])];
  return el("div", {class: "card " + word}, link(row.id), el("p", {}, facts.filter(Boolean).join(" · ")), row.title || row.detail ? el("p", {}, word === "running" ? row.detail || row.title : row.title || row.detail) : "");
}
function drawBoard(status) {
  const open = new Set(status.needs.filter(need => need.kind === "asks").map(need => need.id));  // at the end of a turn, too
  const asking = status.running.filter(row => row.status === "asks"), ended = status.review.filter(row => open.has(row.id)), asks = [...asking, ...ended];
  const lanes = [
    ["waiting", status.counts.waiting, status.waiting.filter(row => row.status !== "held")],
    ["running", status.counts.running - asking.length, status.running.filter(row => row.status !== "asks")],
    ["asks", asks.length, asks], ["review", status.counts.review - ended.length, status.review.filter(row => !open.has(row.id))],
    ["failed", status.counts.failed, status.ended.filter(row => row.status === "failed")],
    ["done", status.counts.done, status.ended.filter(row => row.status === "done")],
    ["cancelled", status.counts.cancelled, status.ended.filter(row => row.status === "cancelled")],
    ["held", status.counts.held, status.waiting.filter(row => row.status === "held")],
    ["invalid", status.counts.invalid, status.invalid],
  ].filter(([word, number]) => number || ["waiting", "running", "done", "failed"].includes(word));
  return [el("h2", {}, "Board"), el("div", {class: "board"}, ...lanes.map(([word, number, rows]) => el("div", {},
    el("h3", {class: word}, (SIGNS[word] || "·") + " " + word + " ", el("b", {}, String(number))),
    ...rows.slice(0, CARDS()).map(row => card(row, word)),
    number > Math.min(rows.length, CARDS()) ? el("p", {}, "and " + (number - Math.min(rows.length, CARDS())) + " more") : "")))];
}
// A lane per agent: attempts as bars, what a task waited before each as a thin line, attempts at the same time below each other.
function drawTimeline({attempts, running, dropped, at, wide}) {
  const above = wide < 520, WIDTH = wide, LEFT = above ? 0 : 116, ROW = 16, HEAD = above ? 18 : 0, TICKS = above ? 3 : wide < 900 ? 4 : 6, all = [...attempts.map(a => ({task: a[0], number: a[1], agent: a[2], from: a[3], to: a[4], word: a[5]})),
    ...running.filter(row => row.started_at).map(row => ({task: row.id, number: row.attempt || 1, agent: row.agent || "", from: seconds(row.started_at), to: at, word: "running"}))].sort((a, b) => a.from - b.from);
  if (!all.length) return [el("h2", {}, "Timeline"), el("p", {}, "Nothing ran in the last day.")];
  const start = Math.min(all[0].from - (at - all[0].from) * .02, at - 60), scale = (WIDTH - LEFT) / (at - start || 1), x = t => LEFT + (t - start) * scale;
  const ended = new Map(Object.entries(dropped)), lanes = new Map();
  for (const item of all) {
    item.waited = ended.get(item.task); ended.set(item.task, item.to);
    const rows = lanes.get(item.agent) || lanes.set(item.agent, []).get(item.agent);
    let place = rows.findIndex(end => end <= item.from); if (place < 0) place = rows.length < 20 ? rows.push(0) - 1 : 19;
    rows[place] = item.to; item.row = place;
  }
  let top = 4; const shapes = [], tops = new Map();
  for (const [agent, rows] of lanes) {
    shapes.push(el("svg:text", {x: above ? 0 : LEFT - 8, y: top + 11, "text-anchor": above ? "start" : "end"}, (agent || "-").slice(0, 16)));
    tops.set(agent, top + HEAD); top += HEAD + rows.length * ROW + 6; shapes.push(el("svg:line", {x1: 0, x2: WIDTH, y1: top - 3, y2: top - 3}));
  }
  for (let tick = 0; tick <= TICKS; tick++) { const t = start + (at - start) * tick / TICKS; shapes.push(el("svg:text", {x: x(t), y: top + 12, "text-anchor": tick === TICKS ? "end" : tick ? "middle" : "start"}, clock(t * 1000) + (at - start < 600 ? ":" + two(new Date(t * 1000).getSeconds()) : ""))); }
  for (const item of all) {
    const y = tops.get(item.agent) + item.row * ROW + 1, from = Math.max(x(item.from), LEFT);
    if (item.waited != null && item.waited < item.from) shapes.push(el("svg:line", {x1: Math.max(x(item.waited), LEFT), x2: from, y1: y + 6, y2: y + 6, style: "stroke: " + colour(item.word) + "; opacity: .45"}));
    const bar = el("svg:rect", {x: from.toFixed(1), y, width: Math.max(x(item.to) - from, 1.5).toFixed(1), height: ROW - 4, rx: 2, fill: colour(item.word), class: "bar-of", "fill-opacity": item.number > 1 ? .6 : 1, stroke: item.number > 1 ? colour(item.word) : "none"},
      el("svg:title", {}, item.task + (item.number > 1 ? ", attempt " + item.number : "") + ": " + item.word.replace("_", " ") + ", " + span(item.to - item.from) + " from " + clock(item.from * 1000)));
    if (known.tasks[item.task]) bar.addEventListener("click", () => openTask(item.task));
    shapes.push(bar);
  }
  return [el("h2", {}, "Timeline"), el("svg:svg", {viewBox: "0 0 " + WIDTH + " " + (top + 16), class: "drawn", role: "img", "aria-label": all.length + " attempts of the last day, by agent"}, ...shapes),
    el("div", {class: "key"}, ...["succeeded", "failed", "cancelled", "running"].map(word => el("span", {}, el("i", {style: "background:" + colour(word)}), word)), el("span", {}, "thin: waiting · pale: a further attempt"))];
}
function drawRun(run) {
  const head = el("h3", {}, link(run.id), (run.title && run.title !== run.id ? " · " + run.title : "") + " ", el("span", {class: run.status}, run.status), " " + run.done + " of " + run.total + (run.branch ? " · " + run.branch : ""));
  const at = new Map(run.tasks.map(task => [task.id, task])), depth = new Map(), short = id => id.startsWith(run.id + ".") ? id.slice(run.id.length + 1) : id;
  const critical = new Set(run.critical);
  if (run.tasks.length > 120) {
    const SIDE = 14, PER = 70, rows = Math.ceil(run.tasks.length / PER);
    return [head, el("svg:svg", {viewBox: "0 0 " + PER * SIDE + " " + rows * SIDE, role: "img", "aria-label": "tasks of " + run.id}, ...run.tasks.map((task, n) => node(task, el("svg:rect", {x: n % PER * SIDE, y: Math.floor(n / PER) * SIDE, width: SIDE - 3, height: SIDE - 3, rx: 2, fill: colour(task.status)}))))];
  }
  // As deep as the longest way to it; a circle, which no run can have, would end where it closes.
  for (let pass = 0, changed = true; changed && pass <= run.tasks.length; pass++) {
    changed = false;
    for (const task of run.tasks) { const d = Math.max(0, ...task.needs.filter(id => at.has(id)).map(id => (depth.get(id) || 0) + 1)); if (d !== (depth.get(task.id) || 0)) { depth.set(task.id, d); changed = true; } }
  }
  const W = 170, GAP = 44, H = 24, columns = [], spots = new Map();
  for (const task of run.tasks) { const d = depth.get(task.id) || 0; (columns[d] = columns[d] || []).push(task); }
  columns.forEach((column, d) => column.forEach((task, n) => spots.set(task.id, [d * (W + GAP) + 2, n * (H + 10) + 2])));
  const width = columns.length * (W + GAP) - GAP + 4, height = Math.max(...columns.map(column => column.length)) * (H + 10), shapes = [];
  for (const task of run.tasks) for (const need of task.needs) {
    const a = spots.get(need), b = spots.get(task.id); if (!a) continue;
    const hot = critical.has(need) && critical.has(task.id), x1 = a[0] + W, y1 = a[1] + H / 2, x2 = b[0], y2 = b[1] + H / 2, mid = (x1 + x2) / 2;
    shapes.push(el("svg:path", {d: "M" + x1 + " " + y1 + "C" + mid + " " + y1 + " " + mid + " " + y2 + " " + x2 + " " + y2, fill: "none", stroke: hot ? "var(--fg)" : "var(--line)", "stroke-width": hot ? 2 : 1.2}));
  }
  for (const task of run.tasks) {
    const [x, y] = spots.get(task.id), text = short(task.id), took = task.seconds != null ? span(task.seconds) : "";
    shapes.push(node(task, el("svg:rect", {x, y, width: W, height: H, rx: 4, fill: "var(--card)", stroke: colour(task.status), "stroke-width": critical.has(task.id) ? 2 : 1}),
      el("svg:text", {x: x + 8, y: y + 16}, (SIGNS[task.status] || "·") + " " + (text.length > 17 ? text.slice(0, 16) + "…" : text)), el("svg:text", {x: x + W - 6, y: y + 16, "text-anchor": "end", style: "fill: var(--dim)"}, took)));
  }
  return [head, el("div", {class: "scroll"}, el("svg:svg", {viewBox: "0 0 " + width + " " + height, style: "width:" + width + "px", role: "img", "aria-label": "tasks of " + run.id + " and what they need"}, ...shapes))];
}
function node(task, ...shapes) {
  const can = known.tasks[task.id], made = el("svg:g", {class: can ? "node" : null, tabindex: can ? 0 : null, role: can ? "button" : null}, ...shapes, el("svg:title", {}, task.id + ": " + task.status + (task.detail ? ", " + task.detail : "")));
  if (can) { made.addEventListener("click", () => openTask(task.id)); made.addEventListener("keydown", key => { if (key.key === "Enter") openTask(task.id); }); }
  return made;
}
function meter(share) { return el("div", {class: "meter"}, el("i", {style: "width:" + Math.min(100, share * 100).toFixed(1) + "%", class: share >= 1 ? "all" : share >= .8 ? "much" : null})); }
function drawLimits({limits, quota, curve, quotas, at, wide}) {
  const half = wide > 872 ? (wide - 40) / 2 : wide;
  const rows = [["all agents, today (UTC)", limits.day], ...Object.entries(limits.agents)].map(([name, of]) => {
    const most = of.hard_usd ?? of.soft_usd, share = most ? of.spent_usd / most : of.hard_tokens ? of.tokens / of.hard_tokens : null;
    return el("tr", {}, cell("", "", name), cell("spent", "n", money(of.spent_usd) + (most ? " of " + money(most) : "")), cell("tokens", "n", count(of.tokens) + (of.hard_tokens ? " of " + count(of.hard_tokens) : "")), cell("", "", share != null ? meter(share) : ""));
  });
  rows.push(...quota.map(window => el("tr", {}, cell("", "", window.tool + " " + window.window), cell("used", "n", Math.round(window.used * 100) + " %"), cell("", "n", window.resets ? "until " + day(window.resets) : ""), cell("", "", meter(window.used)))));
  const tables = el("section", {}, el("h2", {}, "Limits"), ...limits.closed.map(why => el("p", {class: "failed"}, why)), el("div", {class: "scroll"}, el("table", {class: "rows"}, el("tbody", {}, ...rows))));
  return el("div", {class: "pair"}, tables, curve.length > 1 ? drawCurve(curve, half) : "", quotas.length ? drawQuotas(quotas, at, half) : "");
}
// Lines over time, with a scale at the left and the first and last moment below.
function drawLines(name, label, lines, [from, to], top, figure, W) {
  const H = 150, LEFT = 46, x = t => LEFT + (t - from) / (to - from || 1) * (W - LEFT - 2), y = v => H - 18 - v / top * (H - 28), shapes = [];
  for (const step of [0, .5, 1]) shapes.push(el("svg:line", {x1: LEFT, x2: W, y1: y(top * step), y2: y(top * step)}), el("svg:text", {x: LEFT - 6, y: y(top * step) + 4, "text-anchor": "end"}, figure(top * step)));
  for (const [points, stroke] of lines) shapes.push(el("svg:path", {d: "M" + points.map(([t, v], n) => (n ? "H" + x(t).toFixed(1) + "V" : x(t).toFixed(1) + " ") + y(Math.min(v, top)).toFixed(1)).join("") + "H" + x(to).toFixed(1), fill: "none", stroke, "stroke-width": 2, "stroke-linejoin": "round"}));
  const moment = t => to - from > 86400 * 1.5 ? day(t * 1000) : clock(t * 1000);
  shapes.push(el("svg:text", {x: LEFT, y: H - 3}, moment(from)), el("svg:text", {x: W, y: H - 3, "text-anchor": "end"}, moment(to)));
  return [el("h2", {}, name), el("svg:svg", {viewBox: "0 0 " + W + " " + H, class: "drawn", role: "img", "aria-label": label}, ...shapes)];
}
function drawCurve(points, W) {
  const top = points[points.length - 1][1] || 1, span = [points[0][0], points[points.length - 1][0]];
  return el("section", {}, ...drawLines("Cost of the last day, added up", "cost of the last day: " + money(top), [[points, "var(--c0)"]], span, top, money, W));
}
function drawQuotas(quotas, at, W) {
  const from = Math.min(...quotas.map(one => one.points[0][0])), stroke = n => "var(--c" + n % 8 + ")", name = one => one.tool + " " + one.window;
  return el("section", {}, ...drawLines("Plans, used", quotas.map(one => name(one) + ": " + Math.round(one.points[one.points.length - 1][1] * 100) + " %").join(", "), quotas.map((one, n) => [one.points, stroke(n)]), [from, Math.max(at, from + 60)], 1, share => Math.round(share * 100) + " %", W),
    el("div", {class: "key"}, ...quotas.map((one, n) => el("span", {}, el("i", {style: "background:" + stroke(n)}), name(one)))));
}

// -- figures of a period; their HTML is made by orchestrator, from the same sums that it prints --------------------------------------
let period = address.get("span") || "";
function drawPeriods() {
  const names = Object.keys(known.past.periods); if (!names.includes(period)) period = names[names.length - 1];
  $("periods").replaceChildren(...names.flatMap(name => [el("button", {class: "push", "aria-pressed": String(name === period), onclick: () => { period = name; drawPeriods(); update(); }}, name), " "]));
  part("figures", known.past.periods[period], of => {
    const box = el("div", {});
    box.innerHTML = of.html;
    return box;
  });
}

// -- the list of tasks ---------------------------------------------------------------------------------------------------------------
const columns = [["ended", ""], ["task", ""], ["run", ""], ["agent", ""], ["tool", ""], ["model", ""], ["outcome", ""], ["duration_s", "n"], ["tokens", "n"], ["cost_usd", "n"], ["summary", "wide"]];
const names = {duration_s: "duration", cost_usd: "cost"}, show = {duration_s: span, tokens: count, cost_usd: money, ended: day};
const input = $("q"), body = document.querySelector("#tasks tbody"), more = $("more");
let rows = [], words = [], sort = address.get("sort") || "ended", down = address.get("order") !== "up", found = [], shown = 0;
input.value = address.get("q") || "";
function append(step = STEP) {
  const lines = document.createDocumentFragment();
  for (const row of found.slice(shown, shown + step)) {
    const line = document.createElement("tr");
    for (const [key, kind] of columns) {
      const text = show[key] ? show[key](row[key]) : row[key] ?? "";
      line.append(cell(names[key] || key, key === "outcome" ? row[key] : kind, key === "task" ? link(row.task) : String(text)));
    }
    lines.append(line);
  }
  body.append(lines); shown = Math.min(found.length, shown + step); more.hidden = shown >= found.length;
  more.textContent = "Show " + Math.min(STEP, found.length - shown) + " more";
}
function update() {
  const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean), since = known.past ? known.past.periods[period].since : "";
  const listed = rows.map((_, at) => at).filter(at => rows[at].ended >= since);
  found = listed.filter(at => wanted.every(word => words[at].includes(word))).map(at => rows[at]);
  const sign = down ? -1 : 1;
  found.sort((a, b) => { const x = a[sort], y = b[sort]; if (x == null || y == null) return (x == null) - (y == null); return x < y ? -sign : x > y ? sign : 0; });
  $("count").textContent = found.length === listed.length ? listed.length + " tasks" : found.length + " of " + listed.length + " tasks";
  for (const head of document.querySelectorAll("#tasks th")) head.ariaSort = head.dataset.key === sort ? (down ? "descending" : "ascending") : "none";
  const before = Math.max(shown, STEP);
  body.replaceChildren(); shown = 0; append(before); remember();
}
function remember() {
  const kept = new URLSearchParams(), all = known.past ? Object.keys(known.past.periods) : [];
  if (input.value) kept.set("q", input.value); if (sort !== "ended") kept.set("sort", sort); if (!down) kept.set("order", "up");
  if (period && period !== all[all.length - 1]) kept.set("span", period); if (opened) kept.set("task", opened);
  history.replaceState(null, "", kept.size ? "#" + kept : location.pathname + location.search);
}
for (const [key, kind] of columns) {
  const button = el("button", {onclick: () => { down = sort === key ? !down : true; sort = key; update(); }}, names[key] || key);
  const head = el("th", {class: kind === "n" ? "n" : ""}, button);
  head.dataset.key = key; document.querySelector("#tasks thead tr").append(head);
}
input.oninput = () => { shown = 0; update(); }; more.onclick = () => append();

// -- one task ------------------------------------------------------------------------------------------------------------------------
let opened = address.get("task") || "";
const dialog = $("task");
dialog.addEventListener("close", () => { opened = ""; delete drawn.task; remember(); });
function openTask(id) { opened = id; drawTask(); remember(); }
function diffLines(text) {
  return text.split("\n").map(line => el("span", {class: /^(\+\+\+|---|diff|index|@@|new file|deleted file|similarity)/.test(line) ? "hunk" : line[0] === "+" ? "add" : line[0] === "-" ? "del" : null}, line + "\n"));
}
function drawTask() {
  const task = known.tasks[opened]; if (!opened || !task) return;
  const places = [...dialog.querySelectorAll("pre")].map(text => text.scrollTop);
  part("task", task, task => {
    const need = known.live && known.live.status.needs.find(one => one.id === task.id), fact = (name, ...value) => value.flat().some(one => one !== "" && one != null) ? [el("dt", {}, name), el("dd", {}, ...value.flat())] : [];
    const text = (name, value, lines) => value ? [el("h3", {}, name), el("pre", {tabindex: 0}, ...(lines || [value]))] : [];
    const work = task.commits != null ? "+" + task.insertions + " -" + task.deletions + " in " + task.commits + (task.commits === 1 ? " commit" : " commits") : "";
    return [
      el("header", {}, el("h1", {}, (SIGNS[task.status] || "·") + " " + task.id), el("span", {class: task.status}, task.status), el("span", {class: "span"}, el("button", {class: "push", onclick: () => dialog.close()}, "close (Esc)"))),
      task.title ? el("p", {}, task.title) : "",
      el("dl", {}, ...fact("why", need ? need.why : task.reason || task.detail || ""), ...fact("next", need ? command("orchestrator " + need.command) : command("orchestrator show " + task.id)),
        ...fact("agent", [task.agent, task.tool !== task.agent ? task.tool : "", task.model].filter(Boolean).join(" · ")), ...fact("run", task.run || ""), ...fact("time", span(task.duration_s)), ...fact("cost", money(task.cost_usd)),
        ...fact("branch", [task.branch, work].filter(Boolean).join("   ")), ...fact("checks", (task.checks || []).join(" · ")), ...fact("follows", (task.follows || []).flatMap((id, n) => [n ? " → " : "", link(id)])), ...fact("then", (task.then || []).flatMap((id, n) => [n ? " · " : "", link(id)])), ...fact("session", task.session || ""), ...fact("resume", task.resume || ""), ...fact("file", task.file || "")),
      ...text("Prompt", task.prompt), ...text("Answer", task.answer), ...text("Note", task.note),
      ...(task.attempts && task.attempts.length > 1 ? [el("h3", {}, "Attempts"), el("div", {class: "scroll"}, el("table", {class: "rows"}, el("tbody", {}, ...task.attempts.map(one => el("tr", {}, cell("attempt", "n", String(one.attempt)), cell("agent", "", one.agent || ""), cell("outcome", one.outcome, one.outcome), cell("took", "n", span(one.duration_s)), cell("cost", "n", money(one.cost_usd)), cell("why", "wide", one.reason || ""))))))] : []),
      ...text("Change", task.diff, task.diff ? diffLines(task.diff) : null), ...text("Log (its end)", (task.log || []).join("\n")),
    ].flat();
  });
  dialog.querySelectorAll("pre").forEach((text, at) => { text.scrollTop = places[at] || 0; });
  if (!dialog.open) dialog.showModal();
}

// -- the list: all that had ended when it was written, and what has ended since
let earlier = base ? null : [], fresh = [];
function withWords(of) { return of.map(row => [row, columns.map(([key]) => row[key] ?? "").join(" ").toLowerCase()]); }
function join() {
  const newer = new Set(fresh.map(([row]) => row.task)), all = [...fresh, ...earlier.filter(([row]) => !newer.has(row.task))];
  rows = all.map(one => one[0]); words = all.map(one => one[1]);
  drawPeriods(); update();
}

// -- what comes ----------------------------------------------------------------------------------------------------------------------
function told(doc) {
  if (doc.kind === "tasks") { known.tasks = {__proto__: null, ...doc.tasks}; known.stamp = doc.stamp; }
  if (doc.kind === "rows") { earlier = withWords(doc.rows); if (known.past) join(); }
  if (doc.kind === "past") { known.past = doc; fresh = withWords(doc.rows); if (earlier) join(); }
  if (doc.kind === "live") known.live = doc;
  const live = known.live; if (!live) return;
  const links = known.stamp;  // what can be opened is part of what is shown
  part("needs", {needs: live.status.needs, links, minute: Math.floor(live.at / 10)}, of => drawNeeds(of.needs));
  part("board", {status: live.status, cards: CARDS(), links}, of => drawBoard(of.status));
  part("runs", {runs: live.runs, links}, of => of.runs.length ? [el("h2", {}, "Runs"), ...of.runs.flatMap(drawRun)] : []);
  if (known.past) {
    part("timeline", {attempts: known.past.attempts, dropped: known.past.dropped, running: live.status.running.map(row => ({...row, duration_s: 0, detail: ""})), at: live.status.running.length ? live.at : Math.floor(live.at / 60) * 60 + 60, wide: room("timeline"), links}, drawTimeline);
    part("limits", {limits: live.limits, quota: live.status.quota, curve: known.past.curve, quotas: known.past.quotas || [], at: Math.floor(live.at / 60) * 60, wide: room("limits")}, drawLimits);
  }
  drawTask(); tick();
}
function tick() {
  const live = known.live; if (!live) return;
  const old = now() - live.at, card = live.status.watcher, watcher = card && card.alive ? "watcher runs" : "no watcher runs";
  const word = !base ? "as of " + day(live.at * 1000) : live.stopped ? "stopped " + clock(live.at * 1000) : old > Math.max(10, 5 * live.every) ? "no word since " + clock(live.at * 1000) + ": is orchestrator report --follow still running?" : "live, " + age(old) + " ago";
  $("state").textContent = word + " · " + watcher;
  document.title = (live.status.needs.length ? "(" + live.status.needs.length + ") " : "") + live.name;
}
window.orchestrator = told;
let resized = 0;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { if (known.live) told(known.live); }, 100); });
function load(name) {
  const script = document.createElement("script");
  script.onload = script.onerror = () => script.remove();
  script.src = encodeURIComponent(base + "." + name + ".js") + "?" + Date.now();
  document.head.append(script);
}
const given = JSON.parse($("data").textContent);
for (const doc of given) told(doc);
if (base) {
  const seen = {};
  const look = () => { if (!document.hidden) load("data"); };
  window.orchestrator = doc => {
    told(doc);
    if (doc.kind === "live") for (const name of ["rows", "past", "tasks"]) if (seen[name] !== doc.stamps[name]) { seen[name] = doc.stamps[name]; load(name); }
  };
  look(); setInterval(look, 2000); setInterval(tick, 1000); document.addEventListener("visibilitychange", look);
}
