// The map: a squarified treemap on a canvas. What is too small to be seen is painted as a mix, never descended into.

const map = {
  element: byId("map"), paint: document.querySelector("#map .paint"), marks: document.querySelector("#map .marks"),
  tip: document.querySelector("#map .tip"), cells: [], tops: [], hovered: null, cursor: null, width: 0, height: 0, motion: 0,
};
const HEAD = 19;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let palette = {};

/** Lay sizes, the largest first, into a rectangle so that the pieces are as square as can be (Bruls, Huizing, van Wijk). */
function squarify(items, x, y, width, height) {
  const placed = [];
  let total = 0;
  for (const item of items) total += item.size;
  if (total <= 0 || width <= 0 || height <= 0) return placed;
  const scale = (width * height) / total;
  let index = 0;
  while (index < items.length) {
    const side = Math.min(width, height);
    let area = 0;
    let end = index;
    let worst = Infinity;
    const largest = items[index].size * scale;
    while (end < items.length) {
      const next = items[end].size * scale;
      const sum = area + next;
      const ratio = Math.max((side * side * largest) / (sum * sum), (sum * sum) / (side * side * next));
      if (ratio > worst) break;
      worst = ratio;
      area = sum;
      end++;
    }
    const thick = area / side;
    let at = 0;
    for (; index < end; index++) {
      const long = (items[index].size * scale) / thick;
      placed.push(width >= height ? { id: items[index].id, x, y: y + at, w: thick, h: long } : { id: items[index].id, x: x + at, y, w: long, h: thick });
      at += long;
    }
    if (width >= height) { x += thick; width -= thick; } else { y += thick; height -= thick; }
    if (side < 0.5) break;
  }
  return placed;
}

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  palette = { card: read("--card"), ink: read("--ink"), quiet: read("--quiet"), soft: read("--soft"), line: read("--line"), paper: read("--paper"), accent: read("--accent"), font: read("--sans"), mono: read("--mono") };
  palette.tones = AGES.map((age) => read("--" + age));
  palette.on = AGES.map((age) => read("--on-" + age));
}

function fitCanvas(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(map.width * ratio);
  const height = Math.round(map.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function drawMap() {
  map.width = map.element.clientWidth;
  map.height = map.element.clientHeight;
  if (!map.width || !map.height) return;
  const context = fitCanvas(map.paint);
  context.clearRect(0, 0, map.width, map.height);
  map.cells = [];
  const root = inner(view.node);
  map.element.querySelector(".empty").hidden = itemsOf(root).length > 0;
  map.tops = layIn(root, 0, 0, map.width, map.height);
  for (const cell of map.tops) drawCell(context, { ...cell, node: root, top: cell.id }, 0);
  map.hovered = null;
  map.tip.hidden = true;
  if (map.cursor !== null && !map.tops.some((cell) => cell.id === map.cursor)) map.cursor = null;
  drawMarks();
}

function layIn(node, x, y, width, height) { return squarify(itemsOf(node), x, y, width, height); }

function drawCell(context, cell, depth) {
  if (cell.w < 0.7 || cell.h < 0.7) return;
  map.cells.push(cell);
  if (cell.id < 0) drawFunction(context, cell);
  else drawNode(context, cell, depth);
}

function drawFunction(context, cell) {
  const f = -1 - cell.id;
  const age = functions.age[f];
  const gap = cell.w > 6 && cell.h > 6 ? 1 : cell.w > 3 && cell.h > 3 ? 0.5 : 0;
  context.fillStyle = palette.tones[age];
  roundRect(context, cell.x + gap / 2, cell.y + gap / 2, cell.w - gap, cell.h - gap, Math.min(3, cell.w / 6, cell.h / 6));
  if (cell.w < 32 || cell.h < 15) return;
  context.fillStyle = palette.on[age];
  const font = cell.w > 170 && cell.h > 70 ? 14 : 12;
  const name = fitted(context, functions.name[f], cell.w - 11, `${font}px ${palette.font}`);
  if (!name) return;
  context.fillText(name, cell.x + 6, cell.y + (cell.h < 22 ? cell.h / 2 + 4 : font + 5));
  if (cell.h < 40) return;
  context.globalAlpha = 0.8;
  const when = fitted(context, lastCall(f), cell.w - 11, `11px ${palette.font}`);
  if (when) context.fillText(when, cell.x + 6, cell.y + font + 20);
  context.globalAlpha = 1;
}

function drawNode(context, cell, depth) {
  if (cell.w < 9 || cell.h < 9 || cell.w * cell.h < 170) {
    drawMix(context, cell);
    return;
  }
  const gap = depth === 0 ? 2 : 1;
  const x = cell.x + gap, y = cell.y + gap, w = cell.w - 2 * gap, h = cell.h - 2 * gap;
  const node = inner(cell.id);
  const hasHead = w >= 46 && h >= 40;
  const edge = hasHead ? 3 : w > 24 && h > 24 ? 2 : 1;
  context.fillStyle = depth % 2 ? palette.card : palette.soft;
  roundRect(context, x, y, w, h, Math.min(5, w / 8, h / 8));
  context.strokeStyle = palette.line;
  context.lineWidth = 1;
  context.stroke();
  if (hasHead) drawHead(context, cell, node, x, y, w);
  const head = hasHead ? HEAD : edge;
  for (const child of layIn(node, x + edge, y + head, w - 2 * edge, h - head - edge)) {
    drawCell(context, { ...child, node, top: cell.top }, depth + 1);
  }
}

function drawHead(context, cell, node, x, y, w) {
  const from = dottedOf[nodes.parent[cell.id]];
  const name = from ? dottedOf[node].slice(from.length + 1) : dottedOf[node];
  const never = percent(amount(node, 0), amount(node)) + " never";
  context.fillStyle = palette.ink;
  const font = `600 12px ${palette.font}`;
  const text = fitted(context, name, w - 12, font);
  if (!text) return;
  context.fillText(text, x + 6, y + 14);
  const used = context.measureText(text).width;
  context.font = `11px ${palette.font}`;
  const room = w - used - 22;
  if (amount(node, 0) > 0 && context.measureText(never).width < room) {
    context.fillStyle = palette.quiet;
    context.textAlign = "right";
    context.fillText(never, x + w - 6, y + 14);
    context.textAlign = "left";
  }
}

function drawMix(context, cell) {
  const total = amount(cell.id);
  let at = 0;
  const inset = cell.w > 4 && cell.h > 4 ? 0.5 : 0;
  const x = cell.x + inset, y = cell.y + inset, w = cell.w - 2 * inset, h = cell.h - 2 * inset;
  for (let age = 0; age < 4; age++) {
    const share = amount(cell.id, age) / total;
    context.fillStyle = palette.tones[age];
    if (w >= h) context.fillRect(x + at * w, y, share * w, h);
    else context.fillRect(x, y + at * h, w, share * h);
    at += share;
  }
}

function roundRect(context, x, y, w, h, radius) {
  context.beginPath();
  if (radius > 1 && context.roundRect) context.roundRect(x, y, w, h, radius);
  else context.rect(x, y, w, h);
  context.fill();
}

/** Cut a text to a width; "" when too little would be left of it. */
function fitted(context, text, width, font) {
  context.font = font;
  if (context.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(text.slice(0, middle) + "…").width <= width) low = middle;
    else high = middle - 1;
  }
  return low >= 3 ? text.slice(0, low) + "…" : "";
}

// --- what is pointed at ---------------------------------------------------------------------------------------

function drawMarks() {
  const context = fitCanvas(map.marks);
  context.clearRect(0, 0, map.width, map.height);
  const chosen = view.chosen >= 0 ? map.cells.find((cell) => cell.id === -1 - view.chosen) : null;
  if (chosen) outline(context, chosen, palette.ink, 3);
  if (map.hovered) {
    const top = map.tops.find((cell) => cell.id === map.hovered.top);
    if (top && top.id !== map.hovered.id) outline(context, top, palette.accent, 1.5);
    outline(context, map.hovered, palette.ink, 2);
  }
  const cursor = map.tops.find((cell) => cell.id === map.cursor);
  if (cursor && document.activeElement === map.element) outline(context, cursor, palette.accent, 3);
}

function outline(context, cell, tone, width) {
  context.strokeStyle = tone;
  context.lineWidth = width;
  context.strokeRect(cell.x + width / 2, cell.y + width / 2, Math.max(1, cell.w - width), Math.max(1, cell.h - width));
}

function cellAt(x, y) {
  for (let index = map.cells.length - 1; index >= 0; index--) {
    const cell = map.cells[index];
    if (x >= cell.x && x < cell.x + cell.w && y >= cell.y && y < cell.y + cell.h) return cell;
  }
  return null;
}

function tipContents(cell) {
  if (cell.id < 0) {
    const f = -1 - cell.id;
    return [
      make("b", {}, labelOf(f, 0)),
      make("span", {}, swatch(AGES[functions.age[f]]), "last call: " + lastCallInFull(f)),
      make("span", {}, counted(functions.lines[f], "line") + ", " + placeOf(f)),
    ];
  }
  const node = cell.id;
  const never = amount(node, 0, "functions");
  return [
    make("b", {}, dottedOf[inner(node)] || dottedOf[node]),
    make("span", {}, `${counted(amount(node, undefined, "functions"), "function")}, ${counted(amount(node, undefined, "lines"), "line")}`),
    make("span", {}, swatch("never"), `${numbers.format(never)} never ran (${percent(never, amount(node, undefined, "functions"))})`),
    make("span", {}, "last call: " + (lastOf[node] === Infinity ? "never" : since(lastOf[node]))),
  ];
}

function showTip(cell, x, y) {
  map.tip.replaceChildren(...tipContents(cell));
  map.tip.hidden = false;
  const { offsetWidth, offsetHeight } = map.tip;
  map.tip.style.left = Math.max(0, x + 18 + offsetWidth > map.width ? x - offsetWidth - 14 : x + 18) + "px";
  map.tip.style.top = Math.max(0, Math.min(map.height - offsetHeight, y + 16)) + "px";
}

/** What a click on a cell leads to: into the part of the map that it is in, or to the function itself. */
function follow(cell) {
  if (!cell) return;
  if (cell.top < 0) show(homeOf[-1 - cell.top], -1 - cell.top, "map");
  else zoomTo(cell.top);
}

function zoomTo(node) {
  const target = map.tops.find((cell) => cell.id === node);
  const before = snapshot();
  show(inner(node), -1, "map");
  if (target) animate(before, target);
}

function zoomOut() {
  let node = view.node;
  const shown = inner(node);
  while (node > 0 && inner(node) === shown) node = nodes.parent[node];
  if (inner(node) !== shown) show(node, -1, "map");
}

function snapshot() {
  const copy = document.createElement("canvas");
  copy.width = map.paint.width;
  copy.height = map.paint.height;
  if (copy.width) copy.getContext("2d").drawImage(map.paint, 0, 0);
  return copy;
}

/** Let the part of the old picture that was chosen grow into the new one. */
function animate(before, target) {
  if (calm.matches || !before.width) return;
  const after = snapshot();
  const context = map.marks.getContext("2d");
  const ratio = before.width / map.width;
  const began = performance.now();
  const motion = ++map.motion;
  const step = (now) => {
    if (motion !== map.motion) return;
    const t = Math.min(1, (now - began) / 220);
    const ease = 1 - (1 - t) ** 3;
    if (t >= 1) { drawMarks(); return; }
    const x = target.x * ease * ratio, y = target.y * ease * ratio;
    const w = (map.width + (target.w - map.width) * ease) * ratio, h = (map.height + (target.h - map.height) * ease) * ratio;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.drawImage(before, x, y, w, h, 0, 0, after.width, after.height);
    context.globalAlpha = ease;
    context.drawImage(after, 0, 0);
    context.globalAlpha = 1;
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

/** Move the keyboard's cursor to the nearest part in a direction. */
function moveCursor(dx, dy) {
  if (!map.tops.length) return;
  const from = map.tops.find((cell) => cell.id === map.cursor);
  let best = from || map.tops[0];
  if (from) {
    const cx = from.x + from.w / 2, cy = from.y + from.h / 2;
    let nearest = Infinity;
    for (const cell of map.tops) {
      const ox = cell.x + cell.w / 2 - cx, oy = cell.y + cell.h / 2 - cy;
      const along = ox * dx + oy * dy;
      if (along <= 1) continue;
      const cost = along + 2.5 * Math.abs(ox * dy + oy * dx);
      if (cost < nearest) { nearest = cost; best = cell; }
    }
  }
  map.cursor = best.id;
  map.hovered = null;
  drawMarks();
  showTip(best, best.x + Math.min(best.w, 60) / 2, best.y + Math.min(best.h, 40) / 2);
  say(map.tip.innerText.replace(/\n/g, ", "));
}

const mapKeys = {
  ArrowRight: () => moveCursor(1, 0), ArrowLeft: () => moveCursor(-1, 0), ArrowDown: () => moveCursor(0, 1), ArrowUp: () => moveCursor(0, -1),
  Enter: () => follow(map.tops.map((cell) => ({ ...cell, top: cell.id })).find((cell) => cell.id === map.cursor)),
  Escape: zoomOut, Backspace: zoomOut,
};

map.element.addEventListener("pointermove", (event) => {
  if (event.target.closest(".empty")) return;
  const box = map.element.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  const cell = cellAt(x, y);
  if (cell !== map.hovered) {
    map.hovered = cell;
    drawMarks();
  }
  if (cell) showTip(cell, x, y);
  else map.tip.hidden = true;
});
map.element.addEventListener("pointerleave", () => {
  map.hovered = null;
  map.tip.hidden = true;
  drawMarks();
});
map.element.addEventListener("click", (event) => {
  if (event.target.closest(".empty")) return;
  const box = map.element.getBoundingClientRect();
  follow(cellAt(event.clientX - box.left, event.clientY - box.top));
});
map.element.addEventListener("keydown", (event) => {
  const act = mapKeys[event.key];
  if (!act || event.target !== map.element || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});
for (const kind of ["focus", "blur"]) map.element.addEventListener(kind, () => drawMarks());
