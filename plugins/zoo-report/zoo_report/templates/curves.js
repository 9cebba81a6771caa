// Learning curves: several jobs in one chart, and a list to choose them from.
const FIRST_SHOWN = 6;
const drawable = byAccuracy(jobs.filter((job) => Object.keys(job.curves).some((name) => isCurve(job, name))));

if (drawable.length && place("curves")) curves(place("curves"));

// A single point is not a curve.
function isCurve(job, name) {
  return name !== "step" && (job.curves[name] ?? []).filter((value) => value !== null).length > 1;
}

// As zoo.results.learning_curves.kind_of: `loss` of train_loss and val_loss.
function kindOf(name) {
  return name.replace(/^(train|val)_/, "");
}

function curves(room) {
  const kinds = [...new Set(drawable.flatMap((job) => namesOf(job).map(kindOf)))];
  const metric = make("select", { id: "metric" }, ...kinds.map((name) => make("option", {}, name)));
  metric.value = kinds.find((name) => name.endsWith("accuracy")) ?? kinds[0];
  const isLog = make("input", { type: "checkbox", id: "log" });
  const chart = make("zoo-chart");
  const dashes = make("span", { class: "muted small" }, "dashed: the validation rows");
  const picked = picker(() => show());
  const show = () => {
    const found = picked.shown().flatMap((each) => linesOf(each, metric.value));
    const names = [...new Set(found.map(({ part }) => part))];
    // Where all lines are of one metric, it is the chart's title.
    const series = names.length > 1 ? found : found.map((each) => ({ ...each, part: "" }));
    const title = names.length === 1 ? names[0] : metric.value;
    const units = new Set(picked.shown().map(({ job }) => job.step).filter(Boolean));
    dashes.hidden = !series.some((each) => each.isDashed);
    chart.data = { kind: "lines", title, x: units.size === 1 ? [...units][0] : "step", isLog: isLog.checked, series, hasKey: false };
  };
  const change = () => {
    picked.offer(metric.value);
    show();
  };
  room.append(
    make("div", { class: "tools" }, make("label", {}, "Metric ", metric), make("label", {}, isLog, " logarithmic"), ...picked.buttons, dashes),
    make("div", { class: drawable.length > 1 ? "plotted" : "" }, chart, ...(drawable.length > 1 ? [picked.list] : [])),
  );
  metric.addEventListener("change", change);
  isLog.addEventListener("change", show);
  change();
}

function namesOf(job, kind) {
  return Object.keys(job.curves).filter((name) => isCurve(job, name) && (!kind || kindOf(name) === kind));
}

// The lines of a job: its metrics of this kind, those of the validation rows dashed.
function linesOf({ job, index }, kind) {
  const names = namesOf(job, kind);
  return names.map((name) => ({
    name: job.name, part: name,
    x: job.curves.step, y: job.curves[name], ink: index, isDashed: name.startsWith("val_"),
  }));
}

// The jobs that have the metric, with their colours; the best are chosen until somebody chooses.
function picker(changed) {
  const boxes = drawable.map((job) => make("input", { type: "checkbox", value: job.id }));
  const labels = drawable.map((job, index) => {
    const accuracy = job.accuracy === null ? "" : numberText(job.accuracy);
    const about = make("span", { class: "muted" }, `${job.dataset} ${accuracy}`);
    return make("label", {}, boxes[index], swatch(index), make("bdi", {}, job.name), about);
  });
  const isOffered = (index) => !labels[index].hidden;
  const chosen = () => drawable.map((job, index) => ({ job, index })).filter(({ index }) => isOffered(index) && boxes[index].checked);
  const choose = (count) => boxes.filter((_, index) => isOffered(index)).forEach((box, n) => (box.checked = n < count));
  const button = (text, count) => {
    const found = make("button", { type: "button", class: "quiet" }, text);
    found.addEventListener("click", () => {
      choose(count);
      changed();
    });
    return found;
  };
  boxes.forEach((box) => box.addEventListener("change", changed));
  return {
    list: make("fieldset", { class: "legend" }, make("legend", {}, "Jobs"), ...labels),
    buttons: drawable.length > FIRST_SHOWN ? [button(`Best ${FIRST_SHOWN}`, FIRST_SHOWN), button("None", 0)] : [],
    offer: (kind) => {
      labels.forEach((label, index) => (label.hidden = !namesOf(drawable[index], kind).length));
      if (!chosen().length) choose(FIRST_SHOWN);
    },
    shown: chosen,
  };
}
