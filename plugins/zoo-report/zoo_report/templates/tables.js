// Tables are sorted by the pressed column, and show the rows that contain every word of the filter.
for (const table of document.querySelectorAll("table[id]")) {
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sortBy(table, button.closest("th"));
  });
}

function sortBy(table, head) {
  const isNumber = head.dataset.kind === "number";
  const was = head.getAttribute("aria-sort");
  // First press: the largest number, or the first text, at the top.
  const falls = was ? was === "ascending" : isNumber;
  for (const each of head.parentElement.cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falls ? "descending" : "ascending");
  const keyed = [...table.tBodies[0].rows].map((row) => [key(row.cells[head.cellIndex], isNumber), row]);
  keyed.sort(([a], [b]) => compare(a, b, falls));
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

function key(cell, isNumber) {
  if (!isNumber) return cell.textContent.trim();
  const value = Number.parseFloat(cell.dataset.value ?? cell.textContent);
  return Number.isNaN(value) ? null : value;
}

// Missing values are last in either order.
function compare(a, b, falls) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return falls ? -order : order;
}

for (const input of document.querySelectorAll("[data-filters]")) {
  const id = input.dataset.filters;
  const status = document.querySelector(`select[data-status="${id}"]`);
  const counts = document.querySelector(`[data-counts="${id}"]`);
  const rows = [...document.getElementById(id).tBodies[0].rows];
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      row.hidden = !fits || !["", undefined, row.dataset.status].includes(status?.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const all = `${rows.length} ${rows.length === 1 ? "row" : "rows"}`;
    counts.textContent = shown === rows.length ? all : `${shown} of ${all}`;
  };
  input.addEventListener("input", show);
  status?.addEventListener("change", show);
  show();
}
