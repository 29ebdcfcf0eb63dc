"use strict";
// Opens and folds the clusters of a drawing. Each cluster comes laid out by itself; what is here is
// where it goes when clusters are open, as `compose.py` says, and what the reader does with it.
(() => {
  const model = JSON.parse(document.getElementById("data").textContent);
  const { items, values } = model;
  const [INDENT, LANE, APART, SIGN] = model.lanes;
  const [HEAD, PAD, LINE, EDGE] = model.room, [GAP, LINES, PASS, ROW, SWEEPS] = model.gaps;
  const MOST = 2000; // boxes that are opened at once
  const NS = "http://www.w3.org/2000/svg";
  const $ = (id) => document.getElementById(id);
  const canvas = $("canvas"), view = $("view");
  let isOpen = new Set(model.open), chosen = null, drawn = null;
  let scale = 1, dx = 0, dy = 0, untouched = true;

  // ---- where things are -------------------------------------------------------------------------

  // The weighted median of [number, weight]; the middle where there is more than one.
  function median(targets) {
    targets.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const half = targets.reduce((sum, [, weight]) => sum + weight, 0) / 2;
    let total = 0;
    for (let i = 0; i < targets.length; i++) {
      total += targets[i][1];
      if (total > half + 1e-9) return targets[i][0];
      if (total > half - 1e-9 && i + 1 < targets.length) return (targets[i][0] + targets[i + 1][0]) / 2;
    }
    return targets[targets.length - 1][0];
  }

  // What does not change in a plan: its blocks, which of them are side by side, and what pulls them.
  function prepared(plan) {
    const { rows, block } = plan, boxes = plan.n.length, count = Math.max(...block) + 1;
    const lists = () => Array.from({ length: count }, () => []);
    const isLine = (place) => (place >= boxes ? 1 : 0);
    const members = lists(), sides = [], pulls = lists(), near = block.map(() => [[], []]);
    block.forEach((number, place) => members[number].push(place));
    for (const row of rows) for (let i = 1; i < row.length; i++) sides.push([row[i - 1], row[i]]);
    const seen = new Set();
    for (const [a, b, passes, up] of plan.r) {
      const way = [a, ...passes, b];
      if (up) way.reverse();
      for (let i = 1; i < way.length; i++) {
        const key = `${way[i - 1]},${way[i]}`;
        if (seen.has(key)) continue;
        seen.add(key);
        near[way[i]][0].push(way[i - 1]);
        near[way[i - 1]][1].push(way[i]);
      }
    }
    members.forEach((places, b) => {
      for (const place of places) {
        for (const n of near[place].flat()) {
          if (block[n] !== b) pulls[b].push([block[n], [1, 2, 8][isLine(place) + isLine(n)]]);
        }
      }
    });
    const left = lists(), right = lists();
    for (const [a, b] of sides) {
      if (!left[block[b]].includes(block[a])) left[block[b]].push(block[a]);
      if (!right[block[a]].includes(block[b])) right[block[a]].push(block[b]);
    }
    const missing = left.map((each) => each.length);
    const order = missing.flatMap((n, b) => (n ? [] : [b]));
    for (const b of order) for (const next of right[b]) if (!--missing[next]) order.push(next);
    const level = [];
    rows.forEach((row, i) => row.forEach((place) => { level[place] = i; }));
    return { members, sides, pulls, order, level, isLine };
  }

  // Centres near to those of folded boxes, with every block upright and no place on another.
  function settled(plan, widths) {
    const { members, sides, pulls, order, isLine } = (plan.ready ??= prepared(plan));
    const { block, x } = plan, half = (place) => (isLine(place) ? PASS : widths[place]) / 2;
    const lefts = members.map(() => new Map()), rights = members.map(() => new Map());
    for (const [a, b] of sides) {
      const gap = half(a) + half(b) + (isLine(a) || isLine(b) ? LINES : GAP);
      const l = block[a], r = block[b];
      lefts[r].set(l, Math.max(lefts[r].get(l) || 0, gap));
      rights[l].set(r, Math.max(rights[l].get(r) || 0, gap));
    }
    const wanted = members.map((places) => places.reduce((sum, p) => sum + x[p], 0) / places.length);
    const low = [...wanted], high = [...wanted], back = [...order].reverse();
    for (const b of order) for (const [l, gap] of lefts[b]) low[b] = Math.max(low[b], low[l] + gap);
    for (const b of back) for (const [r, gap] of rights[b]) high[b] = Math.min(high[b], high[r] - gap);
    const at = low.map((each, b) => (each + high[b]) / 2);
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      for (const b of sweep % 2 ? order : back) {
        if (!pulls[b].length) continue;
        let least = -Infinity, most = Infinity;
        for (const [l, gap] of lefts[b]) least = Math.max(least, at[l] + gap);
        for (const [r, gap] of rights[b]) most = Math.min(most, at[r] - gap);
        const best = median(pulls[b].map(([n, weight]) => [at[n], weight]));
        at[b] = Math.max(Math.min(best, most), least);
      }
    }
    return block.map((number) => at[number]);
  }

  function spread(plan, sizes, moved) {
    let across = moved ? settled(plan, sizes.map(([w]) => w)) : plan.x, left = Infinity, right = -Infinity;
    const { level } = (plan.ready ??= prepared(plan)), tops = [], bottoms = [];
    across.forEach((x, place) => {
      const half = (place < sizes.length ? sizes[place][0] : PASS) / 2;
      left = Math.min(left, x - half);
      right = Math.max(right, x + half);
    });
    let y = 0;
    for (const row of plan.rows) {
      tops.push(y);
      y += row.reduce((most, place) => Math.max(most, place < sizes.length ? sizes[place][1] : 0), 0);
      bottoms.push(y);
      y += ROW;
    }
    return { w: right - left, h: bottoms[bottoms.length - 1], across: across.map((x) => x - left), tops, bottoms, level };
  }

  function inside(index, isRoot) {
    const plan = items[index].plan, parts = new Map();
    const ports = (way) => plan.n.flatMap((item, i) => (typeof item !== "number" && item[1] === way ? [i] : []));
    const enters = ports(1), head = isRoot ? PAD : enters.length ? LANE : HEAD;
    const made = { w: 2 * PAD, h: head + (ports(0).length ? EDGE : PAD), places: [], wires: [], ports: new Map() };
    if (!plan.n.length) return made;
    plan.n.forEach((item, i) => {
      if (typeof item === "number" && isOpen.has(item)) parts.set(i, inside(item, false));
    });
    const sizes = plan.z.map((size, i) => (parts.has(i) ? [parts.get(i).w, parts.get(i).h] : size));
    const { w, h, across: found, tops, bottoms, level } = spread(plan, sizes, parts.size > 0);
    const title = isRoot ? 0 : INDENT + plan.t + APART, least = title + APART * enters.length + SIGN;
    const side = Math.max(PAD, (least - w) / 2), across = found.map((x) => x + side);
    made.w = w + 2 * side;
    made.h += h;
    // Lines go down between the title and the sign, as near as can be to where they would.
    let start = title;
    [...enters].sort((a, b) => across[a] - across[b]).forEach((i, number) => {
      across[i] = Math.min(Math.max(across[i], start), made.w - SIGN - APART * (enters.length - 1 - number));
      start = across[i] + APART;
    });
    const corners = plan.n.map((item, i) => {
      const [w, h] = sizes[i], x = across[i] - w / 2;
      let y = (tops[level[i]] + bottoms[level[i]]) / 2 + head - h / 2;
      if (typeof item !== "number") {
        y = (item[1] ? 0 : made.h) - h / 2;
        made.ports.set(item.join(), [x + w / 2, y + h / 2]);
      }
      made.places.push({ item, x, y, w, h, depth: 0, open: parts.has(i) });
      return [x, y];
    });
    for (const [a, b, passes, up, along, land] of plan.r) {
      const sides = up ? [bottoms, tops] : [tops, bottoms];
      const middle = passes.flatMap((p) => sides.map((side) => [across[p], side[level[p]] + head]));
      const leaves = sides[1][level[a]] + head, reaches = sides[0][level[b]] + head;
      for (const some of parts.has(a) || parts.has(b) ? along.map((v) => [v]) : [along]) {
        const [[x0, y0], [x1, y1]] = [[a, 0], [b, 1]].map(([i, enters]) => {
          let x = corners[i][0] + sizes[i][0] / 2;
          if (enters && !parts.has(i)) x += land;
          const port = parts.has(i) && parts.get(i).ports.get([some[0], enters].join());
          return [port ? corners[i][0] + port[0] : x, corners[i][1] + (enters === up ? sizes[i][1] : 0)];
        });
        made.wires.push({
          points: [[x0, y0], [x0, leaves], ...middle, [x1, reaches], [x1, y1]],
          values: some, up, ends: [plan.n[a], plan.n[b]],
          text: !up && typeof plan.n[a] === "number" && items[plan.n[a]].k !== "i",
          tip: !parts.has(b) && typeof plan.n[b] === "number",
        });
      }
    }
    for (const [i, part] of parts) {
      const [left, top] = corners[i];
      for (const p of part.places) made.places.push({ ...p, x: p.x + left, y: p.y + top, depth: p.depth + 1 });
      for (const w of part.wires) made.wires.push({ ...w, points: w.points.map(([x, y]) => [x + left, y + top]) });
    }
    return made;
  }

  function path(points) {
    let d = `M${points[0].map((n) => n.toFixed(1)).join(" ")}`;
    for (let i = 1; i < points.length; i++) {
      const [x, y] = points[i - 1], [x1, y1] = points[i], m = ((y + y1) / 2).toFixed(1);
      d += Math.abs(x - x1) < 0.05 ? `V${y1.toFixed(1)}`
        : `C${x.toFixed(1)} ${m} ${x1.toFixed(1)} ${m} ${x1.toFixed(1)} ${y1.toFixed(1)}`;
    }
    return d;
  }

  // ---- what is drawn ----------------------------------------------------------------------------

  function make(tag, attributes, parent, text) {
    const element = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  }

  function element(tag, kind, text, parent) {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function draw() {
    drawn = inside(0, true);
    const layer = document.createDocumentFragment();
    for (const place of drawn.places) if (place.open) drawOpen(place, layer);
    for (const wire of drawn.wires) drawWire(wire, layer);
    drawTexts(layer);
    for (const place of drawn.places) if (!place.open) drawBox(place, layer);
    view.replaceChildren(layer);
    mark();
  }

  function drawOpen({ item, x, y, w, h, depth }, layer) {
    const group = make("g", { class: `open${depth % 2 ? " odd" : ""}`, "data-item": item }, layer);
    make("rect", { class: "rim", x, y, width: w, height: h, rx: 12 }, group);
    make("text", { class: "t", x: x + INDENT, y: y + 21 }, group, items[item].t);
    make("path", { class: "sign", d: `M${x + w - 21} ${y + 16}h8` }, group);
    make("rect", { class: "head", x, y, width: w, height: HEAD - 4, rx: 12 }, group);
  }

  function drawWire(wire, layer) {
    const d = path(wire.points), [x, y] = wire.points[wire.points.length - 1];
    const hit = make("path", { class: "hit", d, "data-value": wire.values[0] }, layer);
    make("title", {}, hit, wire.values.map((v) => `${values[v][0]}  ${values[v][1]}`).join("\n"));
    wire.element = make("path", { class: `wire${wire.up ? " up" : ""}`, d }, layer);
    if (wire.tip) make("path", { class: "tip", d: `M${x} ${y}l-3.5 ${wire.up ? 6 : -6}h7z` }, layer);
  }

  function drawTexts(layer) {
    const starts = new Map();
    for (const wire of drawn.wires) {
      if (!wire.text) continue;
      const key = wire.points[0].join();
      if (!starts.has(key)) starts.set(key, []);
      starts.get(key).push(wire);
    }
    for (const some of starts.values()) {
      const [x, y] = some[0].points[0], along = some[0].values;
      const text = along.length > 1 ? `${along.length} values` : values[along[0]][2];
      const turns = some.map((wire) => wire.points[2][0] - x);
      const left = turns.some((by) => by > 1) && !turns.some((by) => by < -1);
      if (text) make("text", { class: "e", x: left ? x - 5 : x + 5, y: y + 14, ...(left && { "text-anchor": "end" }) }, layer, text);
    }
  }

  function drawBox({ item, x, y, w, h }, layer) {
    if (typeof item !== "number") {
      make("circle", { class: "port", cx: x + w / 2, cy: y + h / 2, r: 3 }, layer);
      return;
    }
    const it = items[item], isPin = it.k === "i" || it.k === "o", isCluster = it.k === "c";
    const kind = isPin ? "pin" : isCluster ? "fold" : it.b[0][0];
    const group = make("g", { class: `box ${kind}`, transform: `translate(${x} ${y})`, "data-item": item }, layer);
    const size = { width: w, height: h }, rx = isPin ? 16 : isCluster ? 9 : 7;
    if (isCluster && it.kind === "run") for (const by of [6, 3]) make("rect", { class: "sheet", x: by, y: by, ...size, rx: 9 }, group);
    make("rect", { class: "rim", ...size, rx }, group);
    if (it.f !== undefined) make("rect", { class: "hot", ...size, rx, "fill-opacity": 0.05 + 0.55 * it.f }, group);
    let top = 8;
    for (const [role, share] of it.b || []) {
      make("rect", { class: `bar ${role}`, x: 6, y: top, width: 3.5, height: (h - 16) * share, rx: 1.75 }, group);
      top += (h - 16) * share;
    }
    if (isCluster) make("path", { class: "sign", d: `M${w - 19} 15h8m-4 -4v8` }, group);
    const anchor = isPin ? { x: w / 2, "text-anchor": "middle" } : { x: 17 };
    make("text", { class: "t", y: 21, ...anchor }, group, it.t);
    it.l.forEach((line, i) =>
      make("text", { class: it.ft && !i ? "s figure" : "s", y: 37 + LINE * i, ...anchor }, group, line));
  }

  function mark() {
    for (const old of view.querySelectorAll(".chosen")) old.classList.remove("chosen");
    const box = chosen === null ? null : view.querySelector(`[data-item="${chosen}"]`);
    if (box) box.classList.add("chosen");
    for (const wire of drawn.wires) wire.element.classList.toggle("on", chosen !== null && wire.ends.includes(chosen));
  }

  // ---- moving and zooming -----------------------------------------------------------------------

  const apply = () => view.setAttribute("transform", `translate(${dx} ${dy}) scale(${scale})`);
  const room = () => canvas.getBoundingClientRect();

  function fit(all) {
    const { width, height } = room();
    scale = Math.min(1.1, width / (drawn.w + 8), (height || 1) / (drawn.h + 8));
    if (!all) scale = Math.max(scale, Math.min(0.75, width / (drawn.w + 8)), 0.6);
    dx = (width - drawn.w * scale) / 2;
    dy = Math.max((height - drawn.h * scale) / 2, 4);
    apply();
  }

  function zoom(factor, x, y) {
    const next = Math.min(Math.max(scale * factor, 0.02), 4);
    dx = x - ((x - dx) * next) / scale;
    dy = y - ((y - dy) * next) / scale;
    scale = next;
    apply();
  }

  const zoomMiddle = (factor) => zoom(factor, room().width / 2, room().height / 2);

  function pan(x, y) {
    const { width, height } = room(), edge = 60, before = [dx, dy];
    dx = Math.min(Math.max(dx + x, edge - drawn.w * scale), width - edge);
    dy = Math.min(Math.max(dy + y, edge - drawn.h * scale), height - edge);
    apply();
    return before[0] !== dx || before[1] !== dy;
  }

  canvas.addEventListener("wheel", (event) => {
    const box = room();
    if (event.ctrlKey || event.metaKey) {
      zoom(Math.exp(-event.deltaY * 0.004), event.clientX - box.left, event.clientY - box.top);
      event.preventDefault();
    } else if (pan(-event.deltaX, -event.deltaY)) event.preventDefault();
  }, { passive: false });

  const fingers = new Map();
  let moved = 0;
  canvas.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    moved = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const now = [event.clientX, event.clientY];
    moved += Math.abs(now[0] - last[0]) + Math.abs(now[1] - last[1]);
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const far = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
      const box = room();
      zoom(far(now) / far(last), (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
    } else if (moved > 4) {
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("drag");
      pan(now[0] - last[0], now[1] - last[1]);
    }
    fingers.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      canvas.classList.remove("drag");
    });
  }

  // ---- opening, choosing, copying ---------------------------------------------------------------

  function toggle(item, still) {
    untouched = false;
    if (isOpen.has(item)) isOpen.delete(item);
    else isOpen.add(item);
    const before = drawn.places.find((place) => place.item === item);
    draw();
    const after = drawn.places.find((place) => place.item === item);
    if (still && before && after) {
      dx += (before.x + before.w / 2 - after.x - after.w / 2) * scale;
      dy += (before.y - after.y) * scale;
    }
    apply();
  }

  function free() {
    const { width, height } = room(), panel = $("panel").getBoundingClientRect();
    const aside = panel.width && panel.width < width;
    return [aside ? width - panel.width : width, aside ? height : height - panel.height];
  }

  function show(item) {
    untouched = false;
    for (let at = items[item].p; at !== undefined; at = items[at].p) isOpen.add(at);
    draw();
    const place = drawn.places.find((each) => each.item === item);
    const [width, height] = free();
    scale = Math.max(scale, 0.8);
    dx = width / 2 - (place.x + place.w / 2) * scale;
    dy = height / 2 - (place.y + place.h / 2) * scale;
    apply();
  }

  let fading;
  function toast(text) {
    $("toast").textContent = text;
    $("toast").classList.add("on");
    clearTimeout(fading);
    fading = setTimeout(() => $("toast").classList.remove("on"), 1800);
  }

  function copyBySelection(text) {
    const area = element("textarea", "", text, document.body);
    area.style.cssText = "position:fixed;opacity:0";
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  async function copy(text) {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      done = copyBySelection(text);
    }
    toast(done ? `copied ${text}` : text);
  }

  function names(title, rows) {
    if (!rows.length) return;
    element("h3", "", title, $("facts"));
    for (const [name, text] of rows) {
      const row = element("div", "row", undefined, $("facts"));
      element("button", "name", name, row).addEventListener("click", () => copy(name));
      element("span", "", text, row);
    }
  }

  function facts(title, rows) {
    if (!rows.length) return;
    element("h3", "", title, $("facts"));
    for (const [name, text] of rows) {
      const row = element("div", "row", undefined, $("facts"));
      element("div", "", name, row);
      element("span", "", text, row);
    }
  }

  function choose(item) {
    chosen = item;
    $("panel").hidden = item === null;
    $("facts").replaceChildren();
    mark();
    if (item === null) return;
    const it = items[item], named = (list) => list.map((v) => [values[v][0], values[v][1]]);
    element("h2", "", it.op || it.full || it.t, $("facts"));
    if (it.s) element("p", "", `in ${it.s}`, $("facts"));
    if (it.why) element("p", "note", it.why, $("facts"));
    if (it.in) element("p", "note", "Inside of a subgraph or function, whose values have no name outside.", $("facts"));
    if (it.ft) facts(model.legend[model.legend.length - 1][1], [[it.ft, ""]]);
    names(it.k === "c" ? "what comes out" : "outputs", named(it.o));
    names(it.k === "c" ? "what goes in" : "inputs", named(it.i));
    names("constants", (it.c || []).map(([operand, name, text]) => [name, `${operand}: ${text}`]));
    facts("attributes", it.a || []);
    if (it.n && it.k === "n") names("node", [[it.n, ""]]);
  }

  canvas.addEventListener("click", (event) => {
    if (moved > 4) return;
    const wire = event.target.closest("[data-value]"), box = event.target.closest("[data-item]");
    if (wire) return copy(values[wire.dataset.value][0]);
    if (!box || event.target.matches(".open > .rim")) return choose(null);
    const item = Number(box.dataset.item), it = items[item];
    if (it.k === "c") return toggle(item, true);
    choose(item);
    copy(it.k === "n" ? values[it.o[0]][0] : it.n);
  });

  function level() {
    const closed = drawn.places.filter((place) => typeof place.item === "number" && !place.open && items[place.item].k === "c");
    const count = closed.reduce((sum, place) => sum + items[place.item].plan.n.length, drawn.places.length);
    if (count > MOST) return toast(`that would be ${count.toLocaleString("en")} boxes: open some by a click`);
    for (const place of closed) isOpen.add(place.item);
    draw();
    fit(true);
  }

  // ---- search -----------------------------------------------------------------------------------

  const texts = items.map((it) => [
    it.t, it.op, it.n, it.full, ...(it.c || []).map((each) => each[1]), ...(it.k === "c" ? [] : (it.o || []).map((v) => values[v][0])),
  ].filter(Boolean).join("\n").toLowerCase());
  let hits = [], at = 0;

  function search() {
    const wanted = $("search").value.trim().toLowerCase();
    hits = [];
    for (let i = 1; wanted && i < items.length && hits.length < 50; i++) if (texts[i].includes(wanted)) hits.push(i);
    at = 0;
    list();
  }

  function list() {
    $("hits").replaceChildren();
    $("hits").hidden = !$("search").value.trim();
    hits.forEach((item, i) => {
      const it = items[item], line = element("li", i === at ? "on" : "", it.op || it.full || it.t, $("hits"));
      element("small", "", it.k === "n" ? ending(it.n || (it.o.length ? values[it.o[0]][0] : "")) : it.l ? it.l.join(" ") : "", line);
      line.addEventListener("click", () => go(i));
      if (i === at) line.scrollIntoView({ block: "nearest" });
    });
    if (!hits.length) element("li", "", "nothing has this name", $("hits"));
  }

  const ending = (name) => (name.length > 44 ? `\u2026${name.slice(-42)}` : name);

  function go(i) {
    at = i;
    choose(hits[i]);
    show(hits[i]);
    list();
    $("hits").hidden = true;
  }

  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") $("hits").hidden = true;
    if (!hits.length) return;
    if (event.key === "Enter") {
      const next = $("hits").hidden ? (at + 1) % hits.length : at;
      go(next);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      at = (at + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % hits.length;
      list();
      event.preventDefault();
    }
  });

  // ---- the rest ---------------------------------------------------------------------------------

  $("title").textContent = document.title = model.title;
  $("subtitle").textContent = model.subtitle;
  $("subtitle").title = model.sizes;
  for (const [role, words] of model.legend) {
    const line = element("li", "", undefined, $("legend"));
    element("i", "", undefined, line).style.background = `var(--${role})`;
    line.append(words);
  }
  $("close").addEventListener("click", () => choose(null));
  $("in").addEventListener("click", () => zoomMiddle(1.25));
  $("out").addEventListener("click", () => zoomMiddle(0.8));
  $("fit").addEventListener("click", () => fit(true));
  $("open").addEventListener("click", level);
  $("fold").addEventListener("click", () => {
    isOpen = new Set([0]);
    draw();
    fit(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      "+": () => zoomMiddle(1.25), "=": () => zoomMiddle(1.25), "-": () => zoomMiddle(0.8), 0: () => fit(true),
      "/": () => $("search").focus(), Escape: () => choose(null),
      ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    };
    if (keys[event.key]) {
      keys[event.key]();
      event.preventDefault();
    }
  });
  window.addEventListener("message", ({ data }) => {
    if (data && typeof data.onnxlaTheme === "string") document.documentElement.dataset.theme = data.onnxlaTheme;
  });
  for (const kind of ["pointerdown", "wheel", "keydown", "input"]) {
    window.addEventListener(kind, () => { untouched = false; }, { passive: true });
  }
  draw();
  fit(false);
  new ResizeObserver(() => { if (untouched) fit(false); }).observe(canvas);
})();
