// The picture of the curves: scales, ticks and lines, as SVG in pixels.
const HEIGHT = 300;
const MARGIN = { left: 52, right: 14, top: 12, bottom: 34 };

// Draw the lines into `plot`; returns the data for the cursor.
function chart(plot, some, metric, isLog) {
  const width = Math.max(plot.clientWidth, 240);
  const visible = some.map((each) => ({ ...each, points: each.points.filter(([, value]) => !isLog || value > 0) }));
  const scale = scales(visible.flatMap(({ points }) => points), width, isLog);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
  svg.append(...axes(scale, width, isLog), ...visible.flatMap((each) => curve(each, scale)), draw("g", { class: "cursor" }));
  plot.replaceChildren(svg);
  if (!some.length) plot.append(make("p", { class: "soft empty" }, `Choose a job that has ${metric}.`));
  return { ...scale, lines: visible, metric };
}

function scales(points, width, isLog) {
  const steps = [...new Set(points.map(([step]) => step))].sort((a, b) => a - b);
  const [from, to] = [steps[0] ?? 0, steps.at(-1) ?? 1];
  const f = isLog ? Math.log10 : (value) => value;
  const values = points.map(([, value]) => f(value));
  let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.05 * (Math.abs(low) || 1), high + 0.05 * (Math.abs(high) || 1)];
  const [wide, tall] = [width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  return {
    steps, from, to, low, high,
    x: (step) => MARGIN.left + (to > from ? (step - from) / (to - from) : 0.5) * wide,
    y: (value) => HEIGHT - MARGIN.bottom - ((f(value) - low) / (high - low)) * tall,
  };
}

function axes({ x, y, from, to, low, high }, width, isLog) {
  const right = width - MARGIN.right;
  const heights = ticks(low, high, 5).map((tick) => (isLog ? 10 ** tick : tick));
  const steps = ticks(from, to, width < 500 ? 5 : 10).filter(Number.isInteger);
  return [
    ...heights.map((value) => draw("path", { class: "grid", d: `M${MARGIN.left} ${y(value)}H${right}` })),
    ...heights.map((value) => label(brief(value), MARGIN.left - 8, y(value) + 4, "end")),
    ...steps.map((step) => label(String(step), x(step), HEIGHT - 16, "middle")),
    label("step", right, HEIGHT - 2, "end"),
  ];
}

function label(text, x, y, anchor) {
  return draw("text", { class: "tick", x, y, "text-anchor": anchor }, text);
}

function curve({ index, points, isBeside }, { x, y }) {
  const d = points.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const line = draw("path", { class: `line ${ink(index)}${isBeside ? " beside" : ""}`, d });
  return points.length === 1 ? [line, dot(index, x(points[0][0]), y(points[0][1]))] : [line];
}

function dot(index, cx, cy) {
  return draw("circle", { class: `dot ${ink(index)}`, cx, cy, r: 4 });
}

// A colour for each of the first eight, then the same ones dashed.
function ink(index) {
  return `ink${index % INKS} dash${Math.floor(index / INKS) % 4}`;
}

function swatch(index) {
  const line = draw("path", { class: ink(index), d: "M0 4H24" });
  return draw("svg", { class: "swatch", viewBox: "0 0 24 8", "aria-hidden": "true" }, line);
}

// Round numbers between two limits, about N of them.
function ticks(low, high, about) {
  const rough = (high - low || 1) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const first = Math.ceil(low / size - 1e-9);
  const count = Math.floor(high / size + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, n) => Number(((first + n) * size).toPrecision(10)));
}

function brief(value, digits = 3) {
  return String(Number(value.toPrecision(digits)));
}
