// Learning curves: several jobs in one picture, with a cursor for mouse, finger and keyboard.
const HEIGHT = 300;
const MARGIN = { left: 52, right: 14, top: 12, bottom: 34 };
const FIRST_SHOWN = 6;
const drawable = byAccuracy(jobs.filter((job) => job.curves.step?.length));

if (drawable.length) curves(place("curves"));
else place("curves")?.append(make("p", { class: "soft" }, "No job here told of its steps."));

function curves(room) {
  const names = [...new Set(drawable.flatMap((job) => Object.keys(job.curves)))].filter((n) => n !== "step");
  const metric = make("select", { id: "metric" }, ...names.map((name) => make("option", {}, name)));
  metric.value = names.find((name) => name.endsWith("accuracy")) ?? names[0];
  const isLog = make("input", { type: "checkbox", id: "log" });
  const plot = make("div", { class: "plot", tabindex: 0, role: "slider", "aria-valuemin": 0 });
  const tip = make("div", { class: "tip", hidden: "" });
  const picked = picker(() => show());
  const few = make("button", { type: "button", class: "quiet" }, `Best ${FIRST_SHOWN}`);
  const none = make("button", { type: "button", class: "quiet" }, "None");
  few.addEventListener("click", () => picked.choose(FIRST_SHOWN));
  none.addEventListener("click", () => picked.choose(0));
  room.append(
    make("div", { class: "tools" }, make("label", {}, "Metric ", metric),
      make("label", {}, isLog, " logarithmic"), few, none),
    make("div", { class: "plotted" }, make("div", { class: "stage" }, plot, tip), picked.list),
    numbers(() => lines(picked.shown(), metric.value), () => metric.value),
  );
  let drawn = null;
  function show() {
    tip.hidden = true;
    drawn = chart(plot, lines(picked.shown(), metric.value), metric.value, isLog.checked);
    plot.setAttribute("aria-label", `${metric.value} by step; arrow keys move along`);
    plot.setAttribute("aria-valuemax", Math.max(drawn.steps.length - 1, 0));
    plot.removeAttribute("aria-valuenow");
    plot.removeAttribute("aria-valuetext");
  }
  function point(at) {
    if (!drawn.steps.length) return;
    const index = Math.min(Math.max(at, 0), drawn.steps.length - 1);
    plot.setAttribute("aria-valuenow", index);
    plot.setAttribute("aria-valuetext", tell(drawn, index, tip, plot));
  }
  plot.addEventListener("pointermove", (event) => {
    const x = event.clientX - plot.getBoundingClientRect().left;
    point(nearest(drawn.steps.map(drawn.x), x));
  });
  plot.addEventListener("pointerleave", () => hide());
  plot.addEventListener("blur", () => hide());
  plot.addEventListener("focus", () => point(Number(plot.getAttribute("aria-valuenow") ?? drawn.steps.length - 1)));
  plot.addEventListener("keydown", (event) => {
    const now = Number(plot.getAttribute("aria-valuenow") ?? drawn.steps.length);
    const last = drawn.steps.length - 1;
    const page = Math.max(Math.round(last / 10), 1);
    const moves = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      Home: 0, End: last, PageUp: now + page, PageDown: now - page };
    if (event.key === "Escape") hide();
    else if (event.key in moves) {
      event.preventDefault();
      point(moves[event.key]);
    }
  });
  function hide() {
    tip.hidden = true;
    plot.querySelector(".cursor")?.replaceChildren();
  }
  metric.addEventListener("change", show);
  isLog.addEventListener("change", show);
  new ResizeObserver(show).observe(plot);
  show();
}

// The list of jobs that may be drawn, each with its colour.
function picker(changed) {
  const boxes = drawable.map((job, index) => {
    const box = make("input", { type: "checkbox", value: job.id });
    box.checked = index < FIRST_SHOWN;
    box.addEventListener("change", changed);
    const swatch = draw("svg", { class: "swatch", viewBox: "0 0 24 8", "aria-hidden": "true" }, draw("path", { class: ink(index), d: "M0 4H24" }));
    const accuracy = job.accuracy === null ? "" : percent(job.accuracy);
    const name = make("bdi", {}, job.name);
    return [make("label", {}, box, swatch, name, make("span", { class: "soft" }, `${job.dataset} ${accuracy}`)), box];
  });
  const list = make("fieldset", { class: "legend" }, make("legend", {}, "Jobs"), ...boxes.map(([label]) => label));
  return {
    list,
    shown: () => drawable.map((job, index) => ({ job, index })).filter(({ index }) => boxes[index][1].checked),
    choose: (count) => {
      boxes.forEach(([, box], index) => (box.checked = index < count));
      changed();
    },
  };
}

function ink(index) {
  return `ink${index % INK} dash${Math.floor(index / INK) % 4}`;
}

function lines(shown, metric) {
  return shown
    .filter(({ job }) => job.curves[metric])
    .map(({ job, index }) => {
      const points = job.curves.step.map((step, i) => [step, job.curves[metric][i]]).filter(([, y]) => y !== null);
      return { job, index, points };
    });
}

// Draw the lines; gives what the cursor needs to find its way.
function chart(plot, some, metric, isLog) {
  const width = Math.max(plot.clientWidth, 240);
  const all = some.flatMap(({ points }) => points).filter(([, y]) => !isLog || y > 0);
  const steps = [...new Set(all.map(([step]) => step))].sort((a, b) => a - b);
  const f = isLog ? Math.log10 : (y) => y;
  const values = all.map(([, y]) => f(y));
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (!all.length) [low, high] = [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.5 * Math.abs(low || 1) * 0.1, high + 0.05 * Math.abs(high || 1)];
  const [from, to] = [steps[0] ?? 0, steps.at(-1) ?? 1];
  const x = (step) => MARGIN.left + ((to > from ? (step - from) / (to - from) : 0.5) * (width - MARGIN.left - MARGIN.right));
  const y = (value) => HEIGHT - MARGIN.bottom - ((f(value) - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
  for (const tick of ticks(low, high, 5)) {
    const value = isLog ? 10 ** tick : tick;
    svg.append(draw("path", { class: "grid", d: `M${MARGIN.left} ${y(value)}H${width - MARGIN.right}` }));
    svg.append(draw("text", { class: "tick", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, brief(value)));
  }
  for (const step of ticks(from, to, width < 500 ? 5 : 10).filter(Number.isInteger)) {
    svg.append(draw("text", { class: "tick", x: x(step), y: HEIGHT - 16, "text-anchor": "middle" }, String(step)));
  }
  const units = new Set(some.map(({ job }) => job.unit));
  svg.append(draw("text", { class: "tick", x: width - MARGIN.right, y: HEIGHT - 2, "text-anchor": "end" }, units.size === 1 ? [...units][0] : "step"));
  for (const { index, points } of some) {
    const kept = points.filter(([, value]) => !isLog || value > 0);
    const d = kept.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    svg.append(draw("path", { class: `line ${ink(index)}`, d }));
    if (kept.length === 1) svg.append(draw("circle", { class: `dot ${ink(index)}`, cx: x(kept[0][0]), cy: y(kept[0][1]), r: 4 }));
  }
  svg.append(draw("g", { class: "cursor" }));
  plot.replaceChildren(svg);
  if (!some.length) plot.append(make("p", { class: "soft empty" }, `Choose a job that has ${metric}.`));
  return { steps, x, y, some, isLog, metric };
}

// Move the cursor to a step, and say what the lines are worth there.
function tell({ steps, x, y, some, isLog, metric }, index, tip, plot) {
  const step = steps[index];
  const cursor = plot.querySelector(".cursor");
  cursor.replaceChildren(draw("path", { class: "rule", d: `M${x(step)} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}` }));
  const found = some.map(({ job, index, points }) => {
    const at = points[nearest(points.map(([s]) => s), step)];
    return { job, index, step: at[0], value: at[1] };
  }).filter((each) => each.step === step && (!isLog || each.value > 0));
  found.sort((a, b) => b.value - a.value);
  for (const each of found) cursor.append(draw("circle", { class: `dot ${ink(each.index)}`, cx: x(step), cy: y(each.value), r: 4 }));
  const unit = found[0]?.job.unit ?? "step";
  tip.replaceChildren(
    make("strong", {}, `${unit} ${step}`),
    ...found.map((each) => make("div", {},
      draw("svg", { class: "swatch", viewBox: "0 0 24 8", "aria-hidden": "true" }, draw("path", { class: ink(each.index), d: "M0 4H24" })),
      make("b", {}, brief(each.value, 5)), make("bdi", {}, each.job.name))),
  );
  tip.hidden = false;
  const left = x(step) + 14;
  tip.style.left = `${left + tip.offsetWidth > plot.clientWidth ? Math.max(x(step) - tip.offsetWidth - 14, 0) : left}px`;
  return `${metric}, ${unit} ${step}: ${found.map((each) => `${each.job.name} ${brief(each.value, 5)}`).join("; ")}`;
}

function nearest(sorted, wanted) {
  let best = 0;
  sorted.forEach((value, index) => {
    if (Math.abs(value - wanted) < Math.abs(sorted[best] - wanted)) best = index;
  });
  return best;
}

// Round numbers between two, about so many.
function ticks(low, high, about) {
  const rough = (high - low || 1) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const found = [];
  for (let n = Math.ceil(low / size - 1e-9); n * size <= high + size * 1e-9; n++) found.push(Number((n * size).toPrecision(10)));
  return found;
}

function brief(value, digits = 3) {
  return String(Number(value.toPrecision(digits)));
}

// The same as a table, made when somebody opens it.
function numbers(current, metric) {
  const body = make("div", { class: "scroll" });
  const details = make("details", { class: "numbers" }, make("summary", {}, "The numbers as a table"), body);
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    const some = current();
    const steps = [...new Set(some.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b);
    const head = make("tr", {}, make("th", { scope: "col" }, "step"), ...some.map(({ job }) => make("th", { scope: "col", class: "number" }, job.name)));
    const values = some.map(({ points }) => new Map(points));
    const rows = steps.map((step) => make("tr", {}, make("th", { scope: "row" }, String(step)),
      ...values.map((each) => make("td", { class: "number" }, each.has(step) ? brief(each.get(step), 5) : "–"))));
    body.replaceChildren(make("table", {}, make("caption", {}, `${metric()} by step`), make("thead", {}, head), make("tbody", {}, ...rows)));
  });
  return details;
}
