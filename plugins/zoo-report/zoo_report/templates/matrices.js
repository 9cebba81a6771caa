// Two confusion matrices side by side: rows are the true classes, columns the predicted ones.
const LEVELS = 5; // shades of right and of wrong in the style sheet
const counted = byAccuracy([...pooled, ...jobs].filter((job) => job.matrix));

if (counted.length && place("matrices")) matrices(place("matrices"));

function matrices(room) {
  const rival = counted.find((job) => job !== counted[0] && job.dataset === counted[0].dataset && job.name !== counted[0].name);
  const sides = [counted[0], rival ?? counted[1]].filter(Boolean).map((job, index, { length }) => side(length > 1 ? "AB"[index] : "Job", job));
  room.append(
    make("p", { class: "muted" }, "Rows are the true classes, columns the predicted ones. Arrow keys move from cell to cell."),
    make("div", { class: "sides" }, ...sides),
  );
}

function side(letter, first) {
  const [label, select] = chooser(`${letter} `, counted, first);
  const says = make("p", { class: "says", "aria-live": "polite" });
  const frame = make("div", { class: "scroll" });
  const show = () => {
    const job = chosenOf(select);
    says.textContent = summary(job);
    frame.replaceChildren(matrix(job, (text) => (says.textContent = text ?? summary(job))));
  };
  select.addEventListener("change", show);
  show();
  return make("div", { class: "side" }, label, frame, says);
}

function summary(job) {
  const worst = [];
  job.matrix.forEach((row, i) => row.forEach((n, k) => i !== k && n && worst.push([n, i, k])));
  worst.sort((a, b) => b[0] - a[0]);
  if (!worst.length) return "None was taken for another class.";
  const some = worst.slice(0, 3).map(([n, i, k]) => `${job.classes[i]} for ${job.classes[k]} (${n})`);
  return `Most often taken: ${some.join(", ")}.`;
}

function matrix(job, say) {
  const total = (row) => row.reduce((sum, n) => sum + n, 0);
  const most = Math.max(...job.matrix.flatMap((row, i) => row.map((n, k) => (i === k ? 0 : n / (total(row) || 1)))), 1e-9);
  const heads = job.classes.map((name) => make("th", { scope: "col", title: name }, name));
  const rows = job.matrix.map((row, i) => {
    const cells = row.map((n, k) => cell(job, i, k, n, total(row), most));
    const recall = total(row) ? Math.floor((100 * row[i]) / total(row)) : "–";
    return make("tr", {}, make("th", { scope: "row", title: job.classes[i] }, job.classes[i]), ...cells,
      make("td", { class: "recall" }, String(recall)));
  });
  const corner = make("th", { scope: "col", class: "corner" }, make("span", { class: "unseen" }, "true class"));
  const table = make("table", { class: "matrix", "aria-label": title(job) },
    make("caption", {}, `${job.dataset}, judged on ${job.judged}`),
    make("thead", {}, make("tr", {}, corner, ...heads, make("th", { scope: "col", title: "recall: of each class, how many per cent were found" }, "%"))),
    make("tbody", {}, ...rows));
  table.style.minWidth = `${1.4 * (job.classes.length + 2)}rem`;
  rove(table, job, say);
  return table;
}

function cell(job, i, k, n, all, most) {
  const share = n / (all || 1);
  // The root lets few mistakes be seen beside many.
  const level = i === k ? Math.ceil(share * LEVELS) : Math.ceil(Math.sqrt(share / most) * LEVELS);
  const kind = n === 0 ? "zero" : `${i === k ? "right" : "wrong"}${Math.max(level, 1)}`;
  const verb = i === k ? "recognised" : `taken for ${job.classes[k]}`;
  return make("td", { class: kind, tabindex: i + k ? -1 : 0, "data-says": `${n} of ${all} ${job.unit} of ${job.classes[i]} ${verb} (${percent(share, 1)})` }, n ? String(n) : "·");
}

// One stop for the Tab key; arrows go from cell to cell.
function rove(table, job, say) {
  const at = (i, k) => table.tBodies[0].rows[i]?.cells[k + 1];
  const size = job.classes.length;
  const textAt = (event) => event.target.closest("[data-says]")?.dataset.says;
  table.addEventListener("pointerover", (event) => say(textAt(event)));
  table.addEventListener("pointerleave", () => say());
  table.addEventListener("focusin", (event) => say(textAt(event)));
  table.addEventListener("focusout", () => say());
  table.addEventListener("keydown", (event) => {
    const now = event.target.closest("[data-says]");
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!now || !(event.key in moves)) return;
    event.preventDefault();
    const [down, right] = moves[event.key];
    const column = now.cellIndex - 1 + right;
    const next = column >= 0 && column < size ? at(now.parentElement.sectionRowIndex + down, column) : null;
    if (!next) return;
    now.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
