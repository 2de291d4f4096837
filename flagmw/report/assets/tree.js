// The tree at the left: only the rows that are in sight exist as elements.

const ROW = 27;
const tree = { rows: [], expanded: new Set(), active: 0, element: byId("tree") };
tree.space = tree.element.querySelector(".tree-space");

/** List the rows: what is expanded, as far as it matches. A function's id is the number below -1. */
function listRows() {
  tree.rows = [];
  const isSearch = filter.text.trim() !== "" && amount(0, undefined, "functions") <= 1500;
  const add = (node, depth) => {
    const children = childrenOf[node].filter((child) => amount(child, undefined, "functions") > 0);
    const own = [];
    for (let f = nodes.start[node]; f < ownEnd(node); f++) if (matches[f]) own.push(f);
    const size = children.length + own.length;
    children.forEach((child, index) => {
      const isOpen = isSearch || tree.expanded.has(child);
      tree.rows.push({ id: child, depth, position: index + 1, size, isOpen });
      if (isOpen) add(child, depth + 1);
    });
    own.forEach((f, index) => tree.rows.push({ id: -1 - f, depth, position: children.length + index + 1, size }));
  };
  add(0, 0);
  tree.active = Math.min(tree.active, Math.max(0, tree.rows.length - 1));
  tree.space.style.height = tree.rows.length * ROW + "px";
}

function drawTree(isWhole = false) {
  const top = tree.element.scrollTop;
  const first = isWhole ? 0 : Math.max(0, Math.floor(top / ROW) - 6);
  const last = isWhole ? Math.min(tree.rows.length, 400) : Math.min(tree.rows.length, Math.ceil((top + tree.element.clientHeight) / ROW) + 6);
  const made = [];
  for (let index = first; index < last; index++) made.push(rowElement(tree.rows[index], index));
  tree.space.replaceChildren(...made);
  const active = tree.rows[tree.active];
  if (active && tree.active >= first && tree.active < last) tree.element.setAttribute("aria-activedescendant", "row" + active.id);
  else tree.element.removeAttribute("aria-activedescendant");
}

function rowElement(row, index) {
  const isFunction = row.id < 0;
  const f = -1 - row.id;
  const isChosen = isFunction ? view.chosen === f : view.chosen < 0 && view.node === row.id;
  const ago = isFunction ? functions.ago[f] : lastOf[row.id];
  const name = isFunction ? functions.name[f] : nodes.name[row.id];
  const size = isFunction ? sizeOf(f) : amount(row.id);
  const element = make(
    "div",
    {
      id: "row" + row.id, role: "treeitem", "aria-level": row.depth + 1, "aria-setsize": row.size, "aria-posinset": row.position,
      "aria-expanded": isFunction ? null : String(row.isOpen), "aria-selected": String(isChosen),
      "aria-label": isFunction ? `${name}, last call ${lastCall(f)}` : `${name}, ${KINDS[nodes.kind[row.id]]}, ${counted(amount(row.id, undefined, "functions"), "function")}, ${percent(amount(row.id, 0), size)} never ran`,
      class: "row" + (isFunction ? " leaf " + AGES[functions.age[f]] : "") + (index === tree.active ? " active" : ""),
      title: isFunction ? labelOf(f) + "\n" + placeOf(f) + "\nlast call: " + lastCallInFull(f) : dottedOf[row.id],
      "data-index": index,
    },
    make("span", { class: "twist", "aria-hidden": "true" }),
    make("span", { class: "badge", "aria-hidden": "true" }, isFunction ? "f" : "·PMC"[nodes.kind[row.id]]),
    make("span", { class: "name" }, name),
    isFunction ? "" : ageBar(row.id, "mini"),
    make("span", { class: "size" }, brief(size)),
    make("span", { class: "when" }, ago < 0 || ago === Infinity ? "never" : distance(ago)),
  );
  element.style.top = index * ROW + "px";
  element.style.paddingLeft = 6 + row.depth * 15 + "px";
  return element;
}

function refreshTree() {
  listRows();
  drawTree();
}

function toggle(index, isOpen) {
  const row = tree.rows[index];
  if (!row || row.id < 0) return;
  if (isOpen === undefined ? row.isOpen : !isOpen) tree.expanded.delete(row.id);
  else tree.expanded.add(row.id);
  refreshTree();
}

/** Open the tree down to a node or function, and bring its row into sight. */
function revealRow(id) {
  for (let node = id < 0 ? homeOf[-1 - id] : nodes.parent[id]; node > 0; node = nodes.parent[node]) tree.expanded.add(node);
  listRows();
  const index = tree.rows.findIndex((row) => row.id === id);
  if (index >= 0) {
    tree.active = index;
    scrollToRow(index);
  }
  drawTree();
}

function scrollToRow(index) {
  const top = index * ROW;
  const { scrollTop, clientHeight } = tree.element;
  if (top < scrollTop) tree.element.scrollTop = Math.max(0, top - ROW);
  else if (top + ROW > scrollTop + clientHeight) tree.element.scrollTop = top + 2 * ROW - clientHeight;
}

function moveTo(index) {
  tree.active = Math.max(0, Math.min(tree.rows.length - 1, index));
  scrollToRow(tree.active);
  drawTree();
}

function chooseRow(index) {
  const row = tree.rows[index];
  if (!row) return;
  tree.active = index;
  if (row.id < 0) show(homeOf[-1 - row.id], -1 - row.id, "tree");
  else show(row.id, -1, "tree");
}

function parentIndex(index) {
  const depth = tree.rows[index].depth;
  while (index > 0 && tree.rows[index].depth >= depth) index--;
  return index;
}

const treeKeys = {
  ArrowDown: () => moveTo(tree.active + 1),
  ArrowUp: () => moveTo(tree.active - 1),
  PageDown: () => moveTo(tree.active + 15),
  PageUp: () => moveTo(tree.active - 15),
  Home: () => moveTo(0),
  End: () => moveTo(tree.rows.length - 1),
  ArrowRight: () => {
    const row = tree.rows[tree.active];
    if (row.id >= 0 && !row.isOpen) toggle(tree.active, true);
    else if (row.id >= 0) moveTo(tree.active + 1);
  },
  ArrowLeft: () => {
    const row = tree.rows[tree.active];
    if (row.id >= 0 && row.isOpen) toggle(tree.active, false);
    else moveTo(parentIndex(tree.active));
  },
  Enter: () => chooseRow(tree.active),
  " ": () => chooseRow(tree.active),
};

tree.element.addEventListener("scroll", () => requestAnimationFrame(() => drawTree()), { passive: true });
tree.element.addEventListener("keydown", (event) => {
  const act = treeKeys[event.key];
  if (!act || !tree.rows.length || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
});
tree.element.addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  const index = Number(row.dataset.index);
  const isTwist = event.target.closest(".twist") !== null;
  const was = tree.rows[index];
  if (isTwist) { tree.active = index; toggle(index); return; }
  if (was.id >= 0 && (!was.isOpen || view.node === was.id)) toggle(index);
  chooseRow(index);
});
byId("collapse").addEventListener("click", () => {
  tree.expanded.clear();
  tree.active = 0;
  refreshTree();
});
