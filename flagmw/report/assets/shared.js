// Elements, numbers and times as texts.

const numbers = new Intl.NumberFormat("en");
const dates = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const minutes = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });

/** Make an element. Strings become text, never markup. */
function make(tag, attributes = {}, ...contents) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...contents.flat().filter((content) => content !== null && content !== undefined && content !== ""));
  return element;
}

function byId(id) { return document.getElementById(id); }

function counted(number, word, plural = word + "s") { return numbers.format(number) + " " + (number === 1 ? word : plural); }

/** A number in at most four characters. */
function brief(number) {
  if (number < 1000) return String(Math.round(number));
  if (number < 9950) return (number / 1000).toFixed(1) + "k";
  return number < 999500 ? Math.round(number / 1000) + "k" : (number / 1e6).toFixed(1) + "M";
}

function percent(part, whole) {
  if (!whole) return "0 %";
  const share = (100 * part) / whole;
  return (share > 0 && share < 1 ? "< 1" : share > 99 && share < 100 ? "> 99" : Math.round(share)) + " %";
}

/** A distance in time, such as "12 d". */
function distance(seconds) {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= length) return Math.floor(seconds / length) + " " + unit;
  }
  return "now";
}

function since(seconds) { const text = distance(seconds); return text === "now" ? "just now" : text + " ago"; }

/** When a function ran last, shortly and in full. */
function lastCall(f) {
  const ago = functions.ago[f];
  return ago < 0 ? "never" : distance(ago);
}

function lastCallInFull(f) {
  const ago = functions.ago[f];
  if (ago < 0) return "never, in " + distance(functions.known[f]).replace("now", "less than a minute");
  return since(ago) + ", " + minutes.format((report.made_at - ago) * 1000);
}

function swatch(age) { return make("i", { class: "swatch " + age, "aria-hidden": "true" }); }

/** A bar of the four ages of a node. */
function ageBar(node, className) {
  const bar = make("span", { class: className, "aria-hidden": "true" });
  const total = amount(node);
  AGES.forEach((age, index) => {
    const part = amount(node, index);
    if (!part) return;
    const piece = make("i", { class: age });
    piece.style.flex = part / total + " 1 0";
    bar.append(piece);
  });
  return bar;
}
