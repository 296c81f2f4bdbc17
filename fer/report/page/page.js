// Sorting, filtering and the theme. The page works without it; it loads nothing.
"use strict";

const key = (cell) => cell.dataset.key === undefined ? cell.textContent.trim() : Number(cell.dataset.key);

function compare(one, two) {
  if (typeof one === "number" && typeof two === "number") return one - two;
  return String(one).localeCompare(String(two), undefined, { numeric: true });
}

// a row may be followed by one that it opens
const rowsOf = (table) => [...table.tBodies[0].rows].filter((row) => !row.classList.contains("detail"));
const buttonOf = (row) => row.querySelector("button.open");
const detailOf = (row) => buttonOf(row) && document.getElementById(buttonOf(row).getAttribute("aria-controls"));
const isOpen = (row) => buttonOf(row)?.getAttribute("aria-expanded") === "true";

function toggle(row) {
  buttonOf(row).setAttribute("aria-expanded", String(!isOpen(row)));
  detailOf(row).hidden = !isOpen(row);
}

function sortBy(head) {
  const table = head.closest("table");
  const place = [...head.parentElement.children].indexOf(head);
  const numeric = head.classList.contains("number");
  const before = head.getAttribute("aria-sort");
  // numbers sort in descending order first, text in ascending order
  const rising = before ? before !== "ascending" : !numeric;
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = rowsOf(table).map((row) => [key(row.cells[place]), row]);
  rows.sort((one, two) => (rising ? 1 : -1) * compare(one[0], two[0]));
  body.append(...rows.flatMap((pair) => [pair[1], detailOf(pair[1])]).filter(Boolean));
}

function filter(box) {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = rowsOf(document.getElementById(box.dataset.table));
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    if (detailOf(row)) detailOf(row).hidden = row.hidden || !isOpen(row);
    shown += row.hidden ? 0 : 1;
  }
  box.nextElementSibling.textContent = words.length ? `${shown} of ${rows.length}` : "";
}

for (const head of document.querySelectorAll("table.sorts th")) {
  const button = document.createElement("button");
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sortBy(head));
}
for (const box of document.querySelectorAll("input.filter")) {
  box.hidden = false;
  box.addEventListener("input", () => filter(box));
}

for (const row of document.querySelectorAll("tr.opens")) row.addEventListener("click", (event) => {
  if (!event.target.closest("a") && !String(getSelection())) toggle(row);
});

// a link into the appendix opens it
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();

// expand everything for printing
let closed = null;
let folded = [];
addEventListener("beforeprint", () => {
  if (closed) return;
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const one of closed) one.open = true;
  folded = [...document.querySelectorAll("tr.detail[hidden]")];
  for (const row of document.querySelectorAll("tbody tr[hidden]")) row.hidden = false;
});
addEventListener("afterprint", () => {
  for (const one of closed ?? []) one.open = false;
  closed = null;
  for (const row of folded) row.hidden = true;
  for (const box of document.querySelectorAll("input.filter")) filter(box);
});

const theme = document.getElementById("theme");
const root = document.documentElement;
const stored = (() => { try { return localStorage.getItem("fer-theme"); } catch { return null; } })();
if (stored) root.dataset.theme = stored;
theme.hidden = false;
theme.addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("fer-theme", root.dataset.theme); } catch { /* no storage, as in a mailed page */ }
});
