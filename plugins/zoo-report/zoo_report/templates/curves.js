// Learning curves: several jobs in one picture, with a cursor for mouse, finger and keyboard.
const FIRST_SHOWN = 6;
const drawable = byAccuracy(jobs.filter((job) => Object.keys(job.curves).some((name) => isCurve(job, name))));

if (drawable.length) curves(place("curves"));
else place("curves")?.append(make("p", { class: "soft" }, "No job here reported a metric at more than one step."));

// A single point is not a curve.
function isCurve(job, name) {
  return name !== "step" && (job.curves[name] ?? []).filter((value) => value !== null).length > 1;
}

function curves(room) {
  const names = [...new Set(drawable.flatMap((job) => Object.keys(job.curves)))];
  const metrics = names.filter((name) => drawable.some((job) => isCurve(job, name)));
  const metric = make("select", { id: "metric" }, ...metrics.map((name) => make("option", {}, name)));
  metric.value = metrics.find((name) => name.endsWith("accuracy")) ?? metrics[0];
  const isLog = make("input", { type: "checkbox", id: "log" });
  const stage = cursorStage();
  const picked = picker(() => show());
  const current = () => lines(picked.shown(), metric.value);
  const show = () => stage.show(current(), metric.value, isLog.checked);
  room.append(
    make("div", { class: "tools" }, make("label", {}, "Metric ", metric),
      make("label", {}, isLog, " logarithmic"), ...picked.buttons),
    make("div", { class: "plotted" }, stage.element, picked.list),
    numbers(current, metric),
  );
  metric.addEventListener("change", show);
  isLog.addEventListener("change", show);
  new ResizeObserver(show).observe(stage.element);
  show();
}

// The jobs that can be drawn, with their colours.
function picker(changed) {
  const boxes = drawable.map((job, index) => {
    const box = make("input", { type: "checkbox", value: job.id });
    box.checked = index < FIRST_SHOWN;
    box.addEventListener("change", changed);
    return box;
  });
  const labels = drawable.map((job, index) => {
    const accuracy = job.accuracy === null ? "" : percent(job.accuracy);
    const about = make("span", { class: "soft" }, `${job.dataset} ${accuracy}`);
    return make("label", {}, boxes[index], swatch(index), make("bdi", {}, job.name), about);
  });
  const button = (text, count) => {
    const found = make("button", { type: "button", class: "quiet" }, text);
    found.addEventListener("click", () => {
      boxes.forEach((box, index) => (box.checked = index < count));
      changed();
    });
    return found;
  };
  return {
    list: make("fieldset", { class: "legend" }, make("legend", {}, "Jobs"), ...labels),
    buttons: [button(`Best ${FIRST_SHOWN}`, FIRST_SHOWN), button("None", 0)],
    shown: () => drawable.map((job, index) => ({ job, index })).filter(({ index }) => boxes[index].checked),
  };
}

function lines(shown, metric) {
  return shown.flatMap((each) => [line(each, metric), ...beside(each, metric)]).filter(Boolean);
}

function line({ job, index }, metric) {
  if (!isCurve(job, metric)) return undefined;
  const points = job.curves.step.map((step, i) => [step, job.curves[metric][i]]);
  return { job, index, points: points.filter(([, value]) => value !== null) };
}

// The same metric of the validation rows, paler, beside that of the training rows.
function beside(each, metric) {
  if (!metric.startsWith("train_")) return [];
  const name = metric.replace("train_", "val_");
  const found = line(each, name);
  return [found && { ...found, job: { ...found.job, name: `${found.job.name}, ${name}` }, isBeside: true }];
}

// The same data as a table, built when it is opened.
function numbers(current, metric) {
  const body = make("div", { class: "scroll" });
  const details = make("details", { class: "numbers" }, make("summary", {}, "The numbers as a table"), body);
  details.addEventListener("toggle", () => {
    if (details.open) body.replaceChildren(numberTable(current(), metric.value));
  });
  metric.addEventListener("change", () => (details.open = false));
  return details;
}

function numberTable(some, metric) {
  const steps = [...new Set(some.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b);
  const heads = some.map(({ job }) => make("th", { scope: "col", class: "number" }, job.name));
  const values = some.map(({ points }) => new Map(points));
  const rows = steps.map((step) => {
    const cells = values.map((each) => make("td", { class: "number" }, each.has(step) ? brief(each.get(step), 5) : "–"));
    return make("tr", {}, make("th", { scope: "row" }, String(step)), ...cells);
  });
  return make("table", {}, make("caption", {}, `${metric} by step`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "step"), ...heads)), make("tbody", {}, ...rows));
}
