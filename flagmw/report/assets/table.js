// The functions of what is shown, as a table that can be sorted; more rows on demand.

const COLUMNS = [
  { name: "Function", order: (a, b) => compareTexts(labelOf(a, view.node), labelOf(b, view.node)) },
  { name: "Last call", order: (a, b) => calledBefore(b) - calledBefore(a) || functions.lines[b] - functions.lines[a] },
  { name: "Lines", order: (a, b) => functions.lines[a] - functions.lines[b], isNumber: true },
  { name: "Place", order: (a, b) => compareTexts(report.files[functions.file[a]], report.files[functions.file[b]]) || functions.line[a] - functions.line[b] },
];
const PORTION = 25;
const table = { sorted: 1, isDescending: false, shown: PORTION, listed: [] };

function compareTexts(a, b) { return a < b ? -1 : a > b ? 1 : 0; }

/** How long ago the last call was; never is longest. */
function calledBefore(f) { return functions.ago[f] < 0 ? Number.MAX_SAFE_INTEGER : functions.ago[f]; }

function refreshTable() {
  table.listed = [];
  for (let f = nodes.start[view.node]; f < belowEnd(view.node); f++) if (matches[f]) table.listed.push(f);
  const { order } = COLUMNS[table.sorted];
  table.listed.sort(table.isDescending ? (a, b) => order(b, a) : order);
  table.shown = PORTION;
  drawTable();
}

function drawTable() {
  byId("table-heading").textContent = view.node ? `Functions of ${dottedOf[view.node]}` : "All functions";
  byId("table-count").textContent = counted(table.listed.length, "function");
  byId("functions").tHead.rows[0].replaceChildren(...COLUMNS.map(headCell));
  const listed = table.listed.slice(0, table.shown);
  if (view.chosen >= 0 && matches[view.chosen] && !listed.includes(view.chosen)) listed.unshift(view.chosen);
  byId("functions").tBodies[0].replaceChildren(...listed.map(tableRow));
  const left = table.listed.length - table.shown;
  byId("more").hidden = left <= 0;
  byId("more").textContent = `Show ${numbers.format(Math.min(left, PORTION * 20))} more of ${numbers.format(left)}`;
}

function headCell(column, index) {
  const isSorted = index === table.sorted;
  const sort = () => {
    table.isDescending = isSorted && !table.isDescending;
    table.sorted = index;
    refreshTable();
    byId("functions").tHead.rows[0].cells[index].firstChild.focus();
  };
  const order = isSorted ? (table.isDescending ? "descending" : "ascending") : null;
  return make("th", { scope: "col", class: column.isNumber ? "number" : "", "aria-sort": order }, make("button", { type: "button", onclick: sort }, column.name));
}

function tableRow(f) {
  return make(
    "tr",
    { class: f === view.chosen ? "chosen" : "", onclick: () => show(view.node, f, "table") },
    make("td", {}, labelOf(f, view.node)),
    make("td", { class: "last", title: lastCallInFull(f) }, swatch(AGES[functions.age[f]]), functions.ago[f] < 0 ? "never" : since(functions.ago[f])),
    make("td", { class: "number" }, numbers.format(functions.lines[f])),
    make("td", { class: "places" }, placeOf(f)),
  );
}

byId("more").addEventListener("click", () => {
  table.shown += PORTION * 20;
  drawTable();
});
