// Learning curves: several jobs in one chart, and a list to choose them from.
const FIRST_SHOWN = 6;
const drawable = byAccuracy(jobs.filter((job) => Object.keys(job.curves).some((name) => isCurve(job, name))));

if (drawable.length) curves(place("curves"));
else place("curves")?.append(make("p", { class: "muted" }, "No job here reported a metric at more than one step."));

// A single point is not a curve.
function isCurve(job, name) {
  return name !== "step" && (job.curves[name] ?? []).filter((value) => value !== null).length > 1;
}

// As zoo.results.learning_curves.kind_of: `loss` of train_loss and val_loss.
function kindOf(name) {
  return name.replace(/^(train|val)_/, "");
}

function curves(room) {
  const names = [...new Set(drawable.flatMap((job) => Object.keys(job.curves).filter((name) => isCurve(job, name))))];
  const kinds = [...new Set(names.map(kindOf))];
  const metric = make("select", { id: "metric" }, ...kinds.map((name) => make("option", {}, name)));
  metric.value = kinds.find((name) => name.endsWith("accuracy")) ?? kinds[0];
  const isLog = make("input", { type: "checkbox", id: "log" });
  const chart = make("zoo-chart");
  const dashes = make("span", { class: "muted small" }, "dashed: the validation rows");
  const picked = picker(() => show());
  const show = () => {
    const series = picked.shown().flatMap((each) => linesOf(each, metric.value));
    const units = new Set(picked.shown().map(({ job }) => job.step));
    dashes.hidden = !series.some((each) => each.isDashed);
    chart.data = { kind: "lines", title: metric.value, x: units.size === 1 ? [...units][0] : "step", isLog: isLog.checked, series, hasKey: false };
  };
  room.append(
    make("div", { class: "tools" }, make("label", {}, "Metric ", metric), make("label", {}, isLog, " logarithmic"), ...picked.buttons, dashes),
    make("div", { class: "plotted" }, chart, picked.list),
  );
  metric.addEventListener("change", show);
  isLog.addEventListener("change", show);
  show();
}

// The lines of a job: its metrics of this kind, those of the validation rows dashed.
function linesOf({ job, index }, kind) {
  const names = Object.keys(job.curves).filter((name) => isCurve(job, name) && kindOf(name) === kind);
  return names.map((name) => ({
    name: names.length > 1 || name !== kind ? `${job.name}, ${name}` : job.name,
    x: job.curves.step, y: job.curves[name], ink: index, isDashed: name.startsWith("val_"),
  }));
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
    const accuracy = job.accuracy === null ? "" : numberText(job.accuracy);
    const about = make("span", { class: "muted" }, `${job.dataset} ${accuracy}`);
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
    buttons: drawable.length > 1 ? [button(drawable.length > FIRST_SHOWN ? `Best ${FIRST_SHOWN}` : "All", FIRST_SHOWN), button("None", 0)] : [],
    shown: () => drawable.map((job, index) => ({ job, index })).filter(({ index }) => boxes[index].checked),
  };
}
