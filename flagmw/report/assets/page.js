// Puts the parts together: what is shown, the filters, the address, the theme, printing.

const view = { node: 0, chosen: -1 };

function say(text) { byId("said").textContent = text; }

/** Show a node, and one of its functions when `chosen` is not -1; `from` is the part that asks. */
function show(node, chosen, from) {
  const isOther = node !== view.node;
  view.node = node;
  view.chosen = chosen;
  if (isOther) {
    drawTrail();
    drawMap();
    refreshTable();
  } else {
    drawMarks();
    drawTable();
  }
  if (from === "tree") drawTree();
  else if (node > 0 || chosen >= 0) revealRow(chosen >= 0 ? -1 - chosen : node);
  else drawTree();
  say(chosen >= 0 ? `${labelOf(chosen, 0)}, last call ${lastCallInFull(chosen)}` : `${dottedOf[node] || "All"}: ${counted(amount(node, undefined, "functions"), "function")}`);
  keepAddress();
}

function drawTrail() {
  const path = [];
  for (let node = view.node; node > 0; node = nodes.parent[node]) path.unshift(node);
  const pieces = [view.node ? make("button", { type: "button", onclick: () => show(0, -1, "trail") }, "All code") : make("span", { "aria-current": "true" }, "All code")];
  for (const node of path) {
    pieces.push(make("span", { class: "sep", "aria-hidden": "true" }, "/"));
    pieces.push(node === view.node ? make("span", { "aria-current": "true" }, nodes.name[node]) : make("button", { type: "button", onclick: () => show(node, -1, "trail") }, nodes.name[node]));
  }
  byId("trail").replaceChildren(...pieces);
}

// --- summary --------------------------------------------------------------------------------------------------

function drawSummary() {
  const all = amount(0, undefined, "functions");
  const bar = make("div", { class: "stack", role: "img", "aria-label": AGES.map((age, index) => `${percent(amount(0, index, "functions"), all)} ${report.age_names[age]}`).join(", ") });
  AGES.forEach((age, index) => {
    const part = amount(0, index, "functions");
    if (!part) return;
    const piece = make("i", { class: age, title: `${counted(part, "function")} ${report.age_names[age]}` });
    piece.style.flex = part + " 1 0";
    bar.append(piece);
  });
  const shares = make("div", { class: "shares" }, AGES.map((age, index) => make("span", {}, swatch(age), `${percent(amount(0, index, "functions"), all)} ${report.age_names[age]}`)));
  const stale = report.flags.filter((flag) => flag.verdict === "stale");
  const lines = stale.reduce((sum, flag) => sum + (flag.removal ? flag.removal.lines : 0), 0);
  byId("summary").append(
    tile(numbers.format(all), all === 1 ? "function" : "functions", bar, shares),
    tile(numbers.format(amount(0, 0, "functions")), "never ran", sub(percent(amount(0, 0, "functions"), all) + " of all functions")),
    tile(numbers.format(amount(0, 0, "lines")), "lines in them", sub(percent(amount(0, 0, "lines"), amount(0, undefined, "lines")) + " of all lines in functions")),
    tile(numbers.format(stale.length), stale.length === 1 ? "stale flag" : "stale flags", sub(stale.length ? counted(lines, "line") + (stale.length === 1 ? " would go with it" : " would go with them") : `of ${counted(report.flags.length, "flag")}`)),
  );
}

function sub(text) { return make("div", { class: "sub" }, text); }

function tile(big, label, ...rest) {
  return make("div", { class: "card tile" }, make("div", { class: "big" }, big), make("div", { class: "label" }, label), rest);
}

function drawHeader() {
  byId("title").textContent = report.title;
  byId("about").textContent = report.about.join(" · ");
  const notes = byId("notes");
  notes.hidden = !report.notes.length;
  notes.append(...report.notes.map((note) => make("li", {}, note)));
}

// --- filters --------------------------------------------------------------------------------------------------

function refilter() {
  applyFilter();
  tree.active = 0;
  tree.element.scrollTop = 0;
  refreshTree();
  drawMap();
  refreshTable();
  drawLegend();
  say(counted(amount(0, undefined, "functions"), "function") + " shown");
  keepAddress();
}

function drawChips() {
  const totals = AGES.map((age, index) => amount(0, index, "functions"));
  byId("ages").append(...AGES.map((age, index) => {
    const chip = make("button", { type: "button", class: "chip", "aria-pressed": "true", "data-age": age }, swatch(age), report.age_names[age], make("b", {}, numbers.format(totals[index])));
    chip.addEventListener("click", () => {
      if (filter.ages.has(age)) filter.ages.delete(age);
      else filter.ages.add(age);
      chip.setAttribute("aria-pressed", String(filter.ages.has(age)));
      refilter();
    });
    return chip;
  }));
}

function drawLegend() {
  byId("legend").replaceChildren(
    make("span", {}, `Area: ${filter.measure}. Colour: last call`),
    ...AGES.map((age) => make("span", {}, swatch(age), report.age_names[age])),
    make("span", { class: "hint" }, "Click to go in, Esc to go out"),
  );
}

for (const button of document.querySelectorAll("[data-measure]")) {
  button.addEventListener("click", () => {
    setMeasure(button.dataset.measure);
    refilter();
  });
}

function setMeasure(measure) {
  filter.measure = measure;
  for (const button of document.querySelectorAll("[data-measure]")) button.setAttribute("aria-pressed", String(button.dataset.measure === measure));
}

let typing = 0;
byId("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    filter.text = byId("search").value;
    refilter();
  }, FUNCTIONS > 20000 ? 200 : 40);
});
byId("reset").addEventListener("click", () => {
  filter.text = byId("search").value = "";
  filter.ages = new Set(AGES);
  for (const chip of byId("ages").children) chip.setAttribute("aria-pressed", "true");
  refilter();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "TEXTAREA"].includes(document.activeElement.tagName)) {
    event.preventDefault();
    byId("search").focus();
  }
});

// --- the address keeps what is shown ---------------------------------------------------------------------------

function keepAddress() {
  const kept = new URLSearchParams();
  if (view.node) kept.set("node", dottedOf[view.node]);
  if (filter.measure !== "lines") kept.set("size", filter.measure);
  if (filter.text) kept.set("search", filter.text);
  if (filter.ages.size !== AGES.length) kept.set("ages", [...filter.ages].join(" "));
  const hash = kept.toString();
  if (hash) history.replaceState(null, "", "#" + hash);
  else if (location.hash.includes("=")) history.replaceState(null, "", location.pathname + location.search);
}

function readAddress() {
  if (!location.hash.includes("=")) return;
  const kept = new URLSearchParams(location.hash.slice(1));
  if (kept.get("size") === "functions") setMeasure("functions");
  filter.text = byId("search").value = kept.get("search") || "";
  if (kept.has("ages")) filter.ages = new Set(kept.get("ages").split(" ").filter((age) => AGES.includes(age)));
  for (const chip of byId("ages").children) chip.setAttribute("aria-pressed", String(filter.ages.has(chip.dataset.age)));
  view.node = Math.max(0, dottedOf.indexOf(kept.get("node") || ""));
}

// --- theme, size, print ---------------------------------------------------------------------------------------

const THEMES = ["system", "light", "dark"];
let theme = 0;
byId("theme").addEventListener("click", () => {
  theme = (theme + 1) % THEMES.length;
  byId("theme").textContent = "Theme: " + THEMES[theme];
  if (theme) document.documentElement.dataset.theme = THEMES[theme];
  else delete document.documentElement.dataset.theme;
  redraw();
});

function redraw() {
  readPalette();
  drawMap();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
new ResizeObserver(() => {
  if (map.element.clientWidth !== map.width || map.element.clientHeight !== map.height) drawMap();
  drawTree();
}).observe(map.element);
window.addEventListener("beforeprint", () => drawTree(true));
window.addEventListener("afterprint", () => drawTree());

function openFirstLevels() {
  let node = 0;
  while (childrenOf[node].length === 1 && ownEnd(node) === nodes.start[node]) {
    node = childrenOf[node][0];
    tree.expanded.add(node);
  }
}

applyFilter();
drawHeader();
drawSummary();
drawChips();
readAddress();
applyFilter();
readPalette();
openFirstLevels();
refreshTree();
drawTrail();
drawMap();
drawLegend();
refreshTable();
drawFlags();
if (view.node) revealRow(view.node);
document.documentElement.dataset.ready = "true";
