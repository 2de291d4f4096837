// What the page shows: the report as columns, what of it matches the filters, and sums over the tree.

const AGES = ["never", "old", "aging", "recent"];
const KINDS = ["root", "package", "module", "class"];
const report = JSON.parse(document.getElementById("report").textContent);
const nodes = report.nodes;
const functions = report.functions;
const NODES = nodes.name.length;
const FUNCTIONS = functions.name.length;

// Nodes stand in the order of a walk, parents first, and functions in the order of their nodes: what is below a
// node is a range of both.
const childrenOf = Array.from({ length: NODES }, () => []);
for (let node = 1; node < NODES; node++) childrenOf[nodes.parent[node]].push(node);
const dottedOf = new Array(NODES).fill("");
for (let node = 1; node < NODES; node++) {
  const parent = dottedOf[nodes.parent[node]];
  dottedOf[node] = parent ? parent + "." + nodes.name[node] : nodes.name[node];
}
const homeOf = new Int32Array(FUNCTIONS);
for (let node = 0; node < NODES; node++) {
  for (let f = nodes.start[node]; f < ownEnd(node); f++) homeOf[f] = node;
}

/** The end of the functions that a node holds directly. */
function ownEnd(node) { return node + 1 < NODES ? nodes.start[node + 1] : FUNCTIONS; }

/** The end of all functions below a node. */
function belowEnd(node) { const end = nodes.end[node]; return end < NODES ? nodes.start[end] : FUNCTIONS; }

const filter = { ages: new Set(AGES), text: "", measure: "lines" };
const matches = new Uint8Array(FUNCTIONS);
const sums = { functions: new Float64Array(NODES * 4), lines: new Float64Array(NODES * 4) };
const lastOf = new Float64Array(NODES);
let sizedItems = new Map();

/** Find out what matches the filters, and sum it up. */
function applyFilter() {
  const wanted = AGES.map((age) => filter.ages.has(age));
  const inText = textMatcher(filter.text.trim().toLowerCase());
  sums.functions.fill(0);
  sums.lines.fill(0);
  lastOf.fill(Infinity);
  for (let node = 0; node < NODES; node++) {
    const inNode = inText && inText.node(node);
    for (let f = nodes.start[node]; f < ownEnd(node); f++) {
      const age = functions.age[f];
      const is = wanted[age] && (!inText || inNode || inText.function(f, node));
      matches[f] = is ? 1 : 0;
      if (!is) continue;
      sums.functions[node * 4 + age] += 1;
      sums.lines[node * 4 + age] += functions.lines[f];
      if (functions.ago[f] >= 0 && functions.ago[f] < lastOf[node]) lastOf[node] = functions.ago[f];
    }
  }
  for (let node = NODES - 1; node > 0; node--) {
    const parent = nodes.parent[node];
    for (let age = 0; age < 4; age++) {
      sums.functions[parent * 4 + age] += sums.functions[node * 4 + age];
      sums.lines[parent * 4 + age] += sums.lines[node * 4 + age];
    }
    if (lastOf[node] < lastOf[parent]) lastOf[parent] = lastOf[node];
  }
  sizedItems = new Map();
}

function textMatcher(text) {
  if (!text) return null;
  const files = report.files.map((file) => file.toLowerCase().includes(text));
  const lower = dottedOf.map((dotted) => dotted.toLowerCase());
  return {
    node: (node) => lower[node].includes(text),
    function: (f, node) => files[functions.file[f]] || (lower[node] + "." + functions.name[f].toLowerCase()).includes(text),
  };
}

/** How much of a node matches, in all or of one age. */
function amount(node, age, measure = filter.measure) {
  const column = sums[measure];
  if (age !== undefined) return column[node * 4 + age];
  return column[node * 4] + column[node * 4 + 1] + column[node * 4 + 2] + column[node * 4 + 3];
}

/** The size of a function on the map. */
function sizeOf(f) { return filter.measure === "lines" ? functions.lines[f] : 1; }

/** What a node holds directly, the largest first: nodes as their number, functions as the number below -1. */
function itemsOf(node) {
  let items = sizedItems.get(node);
  if (items) return items;
  items = [];
  for (const child of childrenOf[node]) {
    const size = amount(child);
    if (size > 0) items.push({ id: child, size });
  }
  for (let f = nodes.start[node]; f < ownEnd(node); f++) {
    if (matches[f]) items.push({ id: -1 - f, size: Math.max(sizeOf(f), 0.5) });
  }
  items.sort((a, b) => b.size - a.size || functionAge(a.id) - functionAge(b.id));
  sizedItems.set(node, items);
  return items;
}

function functionAge(id) { return id < 0 ? functions.age[-1 - id] : -1; }

/** The node that is shown for a node: a node that holds nothing but one other node is shown as that one. */
function inner(node) {
  let items = itemsOf(node);
  while (items.length === 1 && items[0].id >= 0) {
    node = items[0].id;
    items = itemsOf(node);
  }
  return node;
}

/** A function's name with its parameters, and the classes and modules between it and a node. */
function labelOf(f, from = homeOf[f]) {
  const home = dottedOf[homeOf[f]];
  const prefix = dottedOf[from] ? home.slice(dottedOf[from].length + 1) : home;
  return (prefix ? prefix + "." : "") + functions.name[f] + "(" + report.parameters[functions.parameters[f]] + ")";
}

function placeOf(f) { return report.files[functions.file[f]] + ":" + functions.line[f]; }
