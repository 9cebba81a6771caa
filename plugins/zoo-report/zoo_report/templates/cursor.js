// The stage of the curves: the picture, and a cursor that is a slider for keyboard and screen reader.
function cursorStage() {
  const plot = make("div", { class: "plot", tabindex: 0, role: "slider", "aria-valuemin": 0 });
  const tip = make("div", { class: "tip", hidden: "" });
  const stage = { plot, tip, drawn: null, at: null, element: make("div", { class: "stage" }, plot, tip) };
  listen(stage);
  stage.show = (some, metric, isLog) => {
    stage.drawn = chart(plot, some, metric, isLog);
    stage.at = null;
    hide(stage);
    plot.setAttribute("aria-label", `${metric} by step; arrow keys move along`);
    plot.setAttribute("aria-valuemax", Math.max(stage.drawn.steps.length - 1, 0));
    plot.setAttribute("aria-valuenow", 0);
    plot.setAttribute("aria-valuetext", `${some.length} curves`);
  };
  return stage;
}

function listen(stage) {
  const { plot } = stage;
  plot.addEventListener("pointermove", (event) => {
    const x = event.clientX - plot.getBoundingClientRect().left;
    move(stage, nearest(stage.drawn.steps.map(stage.drawn.x), x));
  });
  plot.addEventListener("pointerleave", () => hide(stage));
  plot.addEventListener("blur", () => hide(stage));
  plot.addEventListener("focus", () => move(stage, stage.at ?? stage.drawn.steps.length - 1));
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide(stage);
    const to = target(event.key, stage.at ?? stage.drawn.steps.length, stage.drawn.steps.length - 1);
    if (to === undefined) return;
    event.preventDefault();
    move(stage, to);
  });
}

function target(key, at, last) {
  const page = Math.max(Math.round(last / 10), 1);
  const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: page, PageDown: -page, Home: -Infinity, End: Infinity };
  return key in moves ? at + moves[key] : undefined;
}

function hide({ plot, tip }) {
  tip.hidden = true;
  plot.querySelector(".cursor")?.replaceChildren();
}

// Move the cursor to a step, and show the values of the lines there.
function move(stage, to) {
  const { plot, drawn } = stage;
  if (!drawn.steps.length) return;
  stage.at = Math.min(Math.max(to, 0), drawn.steps.length - 1);
  const step = drawn.steps[stage.at];
  const found = worth(drawn.lines, step);
  const rule = draw("path", { class: "rule", d: `M${drawn.x(step)} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}` });
  const dots = found.map(({ index, value }) => dot(index, drawn.x(step), drawn.y(value)));
  plot.querySelector(".cursor").replaceChildren(rule, ...dots);
  hint(stage, step, found);
  const values = found.map(({ job, value }) => `${job.name} ${brief(value, 5)}`).join("; ");
  plot.setAttribute("aria-valuenow", stage.at);
  plot.setAttribute("aria-valuetext", `${drawn.metric}, step ${step}: ${values}`);
}

// The value of each line at this step, the largest first; of a line that was thinned out, at the
// nearest step.
function worth(some, step) {
  return some
    .filter(({ points }) => points.length && points[0][0] <= step && step <= points.at(-1)[0])
    .map(({ job, index, points }) => {
      return { job, index, value: points[nearest(points.map(([at]) => at), step)][1] };
    })
    .sort((a, b) => b.value - a.value);
}

// The tooltip is beside the cursor, in the half of the picture without lines.
function hint({ plot, tip, drawn }, step, found) {
  const rows = found.map(({ job, index, value }) =>
    make("div", {}, swatch(index), make("b", {}, brief(value, 5)), make("bdi", {}, job.name)));
  tip.replaceChildren(make("strong", {}, `step ${step}`), ...rows);
  tip.hidden = false;
  const at = drawn.x(step);
  const fits = at + 14 + tip.offsetWidth <= plot.clientWidth;
  const middle = found.reduce((sum, { value }) => sum + drawn.y(value), 0) / (found.length || 1);
  const bottom = HEIGHT - MARGIN.bottom - tip.offsetHeight - 8;
  tip.style.left = `${fits ? at + 14 : Math.max(at - tip.offsetWidth - 14, 0)}px`;
  tip.style.top = `${middle < HEIGHT / 2 ? Math.max(bottom, 8) : 8}px`;
}

function nearest(sorted, wanted) {
  let best = 0;
  sorted.forEach((value, index) => {
    if (Math.abs(value - wanted) < Math.abs(sorted[best] - wanted)) best = index;
  });
  return best;
}
