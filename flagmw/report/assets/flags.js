// The flags: a table of all, and for each stale one the code that goes with it.

const VERDICTS = {
  stale: "settled, and still in code",
  unknown: "in code, but not in the provider",
  unused: "in the provider, but not in code",
  settled: "one variation for everybody",
  live: "in use",
};
const PYTHON = /(#[^\n]*)|((?:[rbfuRBFU]{0,2})(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))|\b(False|None|True|and|as|assert|async|await|break|case|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|match|nonlocal|not|or|pass|raise|return|try|while|with|yield)\b/g;

function drawFlags() {
  const list = byId("flag-list");
  if (!report.flags.length) {
    list.append(make("p", { class: "note" }, report.flags_note || "No flags were found: neither in the code, nor in the store, nor in a provider."));
    return;
  }
  const stale = report.flags.filter((flag) => flag.removal);
  if (report.flags_note) list.append(make("p", { class: "note" }, report.flags_note));
  list.append(...stale.map(flagCard), flagTable());
}

function flagTable() {
  const head = ["Flag", "Verdict", "Given", "Last evaluated", "Read at"];
  return make(
    "div", { class: "card flag-table" },
    make("div", { class: "pane-head" }, make("h3", {}, "All flags"), make("span", {}, counted(report.flags.length, "flag"))),
    make("div", { class: "scroll" }, make(
      "table", {},
      make("thead", {}, make("tr", {}, head.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, report.flags.map(flagRow)),
    )),
  );
}

function flagRow(flag) {
  const places = flag.sites.map((site) => make("div", { title: site.is_certain ? null : "perhaps another library's" }, site.place + (site.is_certain ? "" : " ?")));
  return make(
    "tr", {},
    make("th", { scope: "row" }, make("code", { class: "key" }, flag.key)),
    make("td", {}, make("span", { class: "verdict v-" + flag.verdict, title: flag.why || VERDICTS[flag.verdict] }, flag.verdict)),
    make("td", {}, make("div", { class: "given" }, flag.given.length ? flag.given.map((given) => make("span", {}, make("code", {}, given.shown), " ", make("span", { class: "quiet" }, numbers.format(given.count) + " ×"))) : make("span", { class: "dim" }, "–"))),
    make("td", { class: "last" }, flag.ago === null ? "never" : since(flag.ago)),
    make("td", { class: "places" }, places.length > 6 ? [...places.slice(0, 5), make("div", { class: "quiet" }, `and ${places.length - 5} more`)] : places.length ? places : make("span", { class: "dim" }, "–")),
  );
}

function flagCard(flag) {
  const removal = flag.removal;
  return make(
    "article", { class: "card flag", "data-flag": flag.key },
    make("header", {}, make("h3", {}, flag.key), make("span", { class: "verdict v-" + flag.verdict }, flag.verdict),
      make("span", { class: "saves quiet" }, make("b", {}, numbers.format(removal.lines)), removal.lines === 1 ? " line goes with it" : " lines go with it")),
    make("p", { class: "story" }, story(flag)),
    make("p", { class: "keys" }, make("span", {}, make("i", { class: "k-site" }), "reads the flag"), make("span", {}, make("i", { class: "k-dead" }), "can no longer run")),
    removal.excerpts.map(excerptOf),
    removal.functions.length ? [make("h4", {}, `Only reached from there, and without a call since: ${counted(removal.functions.length, "function")}`), deadTable(removal.functions)] : null,
    removal.unproven.length ? [make("h4", {}, `Perhaps, too, but not watched for long enough: ${counted(removal.unproven.length, "function")}`), deadTable(removal.unproven)] : null,
    removal.parts.length || flag.notes.length ? make("ul", { class: "limits" }, [...removal.parts, ...flag.notes.map(sentence)].map((note) => make("li", {}, note))) : null,
  );
}

function story(flag) {
  const parts = ["Gives ", make("b", {}, make("code", {}, flag.value)), " to everybody"];
  if (flag.since !== null) parts.push(" since ", make("b", {}, dates.format(flag.since * 1000)), ` (${distance(report.made_at - flag.since)})`);
  parts.push(", ", counted(flag.given.reduce((sum, given) => sum + given.count, 0), "evaluation"), ".");
  return parts;
}

function sentence(text) { return text.charAt(0).toUpperCase() + text.slice(1) + "."; }

function deadTable(dead) {
  return make("div", { class: "scroll" }, make(
    "table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Function"), make("th", { scope: "col" }, "Last call"), make("th", { scope: "col", class: "number" }, "Lines"), make("th", { scope: "col" }, "Place"))),
    make("tbody", {}, dead.map((one) => make("tr", {}, make("td", { class: "places" }, one.name), make("td", { class: "last" }, swatch(one.ago === null ? "never" : "old"), one.ago === null ? "never" : since(one.ago)), make("td", { class: "number" }, numbers.format(one.lines)), make("td", { class: "places" }, one.place)))),
  ));
}

function excerptOf(excerpt) {
  const dead = excerpt.lines.filter((line) => line.is_dead).length;
  return make(
    "section", { class: "excerpt" },
    make("p", {}, make("code", {}, excerpt.place), dead ? `${counted(dead, "line")} can no longer run` : ""),
    make("div", { class: "lines", tabindex: "0", role: "group", "aria-label": "Source of " + excerpt.place }, make("ol", {}, excerpt.lines.map((line) => sourceLine(line, excerpt.is_python)))),
  );
}

function sourceLine(line, isPython) {
  const kind = line.number === null ? "cut" : line.is_dead ? "dead" : line.is_site ? "site" : "";
  const said = line.is_dead ? make("span", { class: "hidden" }, "can no longer run: ") : null;
  const number = make("span", { class: "number", "aria-hidden": "true" }, line.number === null ? "⋯" : String(line.number));
  const text = line.text.trimStart();
  const indent = line.text.slice(0, line.text.length - text.length);
  return make("li", { class: kind }, number, said, make("span", {}, indent), make("span", { class: "text" }, isPython ? coloured(text) : text));
}

/** Colour Python: keywords, strings on one line, comments. */
function coloured(text) {
  const pieces = [];
  let at = 0;
  for (const found of text.matchAll(PYTHON)) {
    pieces.push(text.slice(at, found.index), make("span", { class: found[1] ? "c" : found[2] ? "s" : "k" }, found[0]));
    at = found.index + found[0].length;
  }
  pieces.push(text.slice(at));
  return pieces;
}
