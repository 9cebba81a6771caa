// Charts of the page and the report, drawn as SVG in pixels. Values are shown under a pointer, a
// finger and the arrow keys, and as a table. All texts are set as text.
//
// <zoo-chart data-chart="JSON">fallback</zoo-chart>, or `chart.data = {...}`:
//   {kind: "lines", title, x, isLog, series: [{name, part, x: [], y: [], ink, isDashed, href}],
//    hasKey}; `part` is the metric of several that a job has
//   {kind: "parallel", title, link, axes: [{name, scale, ticks: [[place, text]]}],
//    trials: [{at: [place], rank, kind, value, params: [text], job}]}
// Places and ranks are from 0 to 1; the best trial comes first; without its job a trial has no link.
// <zoo-dots><svg>circles with a <title></svg></zoo-dots> adds the cursor to a finished picture.

const SVG = "http://www.w3.org/2000/svg";
const INKS = 8; // --c0 to --c7

export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((each) => each !== null && each !== undefined));
  return element;
}

// As zoo.jobs.records.number_text: an accuracy is 0.9247.
export function numberText(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e12) return value.toExponential(3);
  if (Number.isInteger(value) && size > 1) return value.toLocaleString("en");
  if (size && size < 0.00005) return value.toExponential(1).replace(/e-(\d)$/, "e-0$1");
  return value.toFixed(4);
}

export function swatch(ink, isDashed = false) {
  const line = draw("path", { class: `ink${ink % INKS}${isDashed ? " dashed" : ""}`, d: "M0 4H22" });
  return draw("svg", { class: "swatch", viewBox: "0 0 22 8", "aria-hidden": "true" }, line);
}

// Axes

// Round numbers that enclose the values, and their labels.
function numberAxis(values, about, isLog) {
  let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  if (isLog) return logAxis(low, high);
  if (!(high - low > 1e-12 * Math.max(Math.abs(low), Math.abs(high)))) {
    const pad = 0.05 * Math.abs(low) || 0.5;
    [low, high] = [low - pad, high + pad];
  }
  const size = roundSize((high - low) / about);
  const [first, last] = [Math.floor(low / size + 1e-9), Math.ceil(high / size - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, n) => (first + n) * size);
  return { low: ticks[0], high: ticks.at(-1), isLog, ticks: ticks.map((value) => [value, tickText(value, size)]) };
}

function logAxis(low, high) {
  const [first, last] = [Math.floor(Math.log10(low) + 1e-9), Math.ceil(Math.log10(high) - 1e-9)];
  const parts = last - first <= 2 ? [1, 2, 5] : [1];
  const every = parts.length > 1 ? 1 : Math.ceil((last - first) / 6);
  const ticks = [];
  for (let power = first; power <= last; power += every) {
    for (const part of parts) ticks.push(Number(`${part}e${power}`));
  }
  const from = Math.max(ticks.findLastIndex((tick) => tick <= low * 1.0001), 0);
  const to = ticks.findIndex((tick) => tick >= high * 0.9999);
  const shown = ticks.slice(from, to < 0 ? undefined : Math.max(to, from + 1) + 1);
  return { low: Math.min(shown[0], low), high: Math.max(shown.at(-1), high), isLog: true, ticks: shown.map((value) => [value, brief(value)]) };
}

function roundSize(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].find((each) => each * power >= rough * 0.999) * power;
}

function tickText(value, size) {
  if (Math.abs(value) >= 1e6 || size < 1e-6) return brief(value);
  return value.toLocaleString("en", { minimumFractionDigits: digitsOf(size), maximumFractionDigits: digitsOf(size) });
}

function digitsOf(size) {
  return Math.max(0, -Math.floor(Math.log10(size) + 1e-9));
}

function brief(value) {
  return String(Number(value.toPrecision(3)));
}

function scaled({ low, high, isLog }, from, to) {
  const f = isLog ? Math.log10 : (value) => value;
  return (value) => from + ((f(value) - f(low)) / (f(high) - f(low) || 1)) * (to - from);
}

function label(text, x, y, anchor, kind = "tick") {
  return draw("text", { class: kind, x, y, "text-anchor": anchor }, text);
}

// Lines over steps

function lines({ title, x: unit = "step", isLog, series }, width) {
  const height = width < 480 ? 230 : 290;
  const shown = series.map((each) => ({ ...each, points: each.x.map((step, i) => [step, each.y[i]]).filter(([, value]) => value !== null && (!isLog || value > 0)) }));
  const points = shown.flatMap((each) => each.points);
  const steps = [...new Set(points.map(([step]) => step))].sort((a, b) => a - b);
  const [from, to] = [steps[0] ?? 0, steps.at(-1) ?? 1];
  const axis = numberAxis(points.map(([, value]) => value), 4, isLog && points.length > 0);
  const left = 12 + 7.2 * Math.max(...axis.ticks.map(([, text]) => text.length));
  const [right, top, bottom] = [width - 16, 26, height - 34];
  const x = from < to ? scaled({ low: from, high: to }, left, right) : () => (left + right) / 2;
  const y = scaled(axis, bottom, top);
  const each = Math.max(1, Math.round(roundSize((to - from || 1) / (width < 480 ? 4 : 8))));
  const marks = Array.from({ length: Math.floor(to / each) - Math.ceil(from / each) + 1 }, (_, n) => (Math.ceil(from / each) + n) * each);
  const cursor = draw("g");
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    ...axis.ticks.flatMap(([value, text]) => [draw("path", { class: "grid", d: `M${left} ${y(value)}H${right}` }), label(text, left - 8, y(value) + 4, "end")]),
    draw("path", { class: "axis", d: `M${left} ${bottom}H${right}${marks.map((step) => `M${x(step).toFixed(1)} ${bottom}v4`).join("")}` }),
    ...marks.map((step) => label(step.toLocaleString("en"), x(step), bottom + 17, "middle")),
    label(isLog ? `${title} (logarithmic)` : title, 0, 12, "start", "axis-name"),
    label(unit, right, height - 3, "end", "axis-name"),
    ...shown.map((one) => curve(one, x, y)), cursor);
  const found = (i) => valuesAt(shown, steps[i]);
  return {
    picture, count: steps.length, first: steps.length - 1, isAcross: true,
    nearest: (at) => nearest(steps.map(x), at),
    place: (i) => [x(steps[i]), found(i).reduce((sum, { value }) => sum + y(value), 0) / (found(i).length || 1)],
    mark: (i) => cursor.replaceChildren(...(i === null ? [] : [
      draw("path", { class: "rule", d: `M${x(steps[i])} ${top}V${bottom}` }),
      ...found(i).map(({ ink, value }) => spot(ink, x(steps[i]), y(value)))])),
    content: (i) => [make("strong", {}, `${unit} ${steps[i].toLocaleString("en")}`), ...found(i).map((line) =>
      make("div", {}, swatch(line.ink, line.isDashed), make("b", {}, numberText(line.value)), ...named({ ...line, href: "" })))],
    text: (i) => `${title}, ${unit} ${steps[i]}: ${found(i).map((line) => `${wholeName(line)} ${numberText(line.value)}`).join("; ")}`,
    label: `${title} by ${unit}; arrow keys move along`,
    empty: points.length ? "" : `No ${title} yet.`,
    table: () => stepTable(title, unit, steps, shown),
  };
}

function curve({ ink, isDashed, points }, x, y) {
  const d = points.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  if (points.length === 1) return spot(ink, x(points[0][0]), y(points[0][1]));
  return draw("path", { class: `line ink${ink % INKS}${isDashed ? " dashed" : ""}`, d });
}

function wholeName({ name, part }) {
  return part ? `${name}, ${part}` : name;
}

// Where there is no room, the name of the job is cut.
function named({ name, part, href }) {
  return [make("bdi", {}, href ? make("a", { href }, name) : name), ...(part ? [make("span", { class: "muted" }, part)] : [])];
}

function spot(ink, cx, cy) {
  return draw("circle", { class: `spot ink${ink % INKS}`, cx, cy, r: 4 });
}

// The value of each line at this step, the largest first; of a line that was thinned out, at the
// nearest step.
function valuesAt(series, step) {
  return series
    .filter(({ points }) => points.length && points[0][0] <= step && step <= points.at(-1)[0])
    .map((each) => ({ ...each, value: each.points[nearest(each.points.map(([at]) => at), step)][1] }))
    .sort((a, b) => b.value - a.value);
}

function nearest(places, wanted) {
  return places.reduce((best, at, i) => (Math.abs(at - wanted) < Math.abs(places[best] - wanted) ? i : best), 0);
}

function stepTable(title, unit, steps, series) {
  const values = series.map(({ points }) => new Map(points));
  const rows = steps.map((step) => [step.toLocaleString("en"), ...values.map((each) => numberText(each.get(step)))]);
  return table(`${title} by ${unit}`, [unit, ...series.map(wholeName)], rows);
}

function table(caption, heads, rows) {
  const cells = ([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first), ...rest.map((text) => make("td", { class: "number" }, text)));
  return make("table", {}, make("caption", { class: "unseen" }, caption),
    make("thead", {}, make("tr", {}, ...heads.map((text, i) => make("th", { scope: "col", class: i ? "number" : null }, text)))),
    make("tbody", {}, ...rows.map(cells)));
}

// Parallel coordinates: an axis for each param and for the metric, a line for each trial

const GAP = 96; // pixels between two axes at least; a narrow screen scrolls

function parallel({ title, axes, trials, link }, room) {
  const width = Math.max(room, GAP * axes.length);
  const [top, bottom, height] = [34, 262, 280];
  const texts = ({ ticks }) => 8 + 7 * Math.max(0, ...ticks.map(([, text]) => Math.min(text.length, 12)));
  const letters = Math.floor(Math.max(room, GAP * axes.length) / axes.length / 7.8);
  const names = axes.map(({ name, scale }) => cut(scale === "log" ? `${name} (log)` : name, letters));
  const side = (n) => Math.max(texts(axes.at(n)), 4 * names.at(n).length) + 4;
  const [left, right] = [side(0), width - side(-1)];
  const x = (n) => left + (n / (axes.length - 1)) * (right - left);
  const y = (place) => bottom - place * (bottom - top);
  const isLast = (n) => n === axes.length - 1;
  const paths = trials.map(({ at, kind, rank }) => {
    const path = draw("path", { class: `trial ${kind}`, d: at.map((place, n) => `${n ? "L" : "M"}${x(n).toFixed(1)} ${y(place).toFixed(1)}`).join("") });
    path.style.setProperty("--rank", `${Math.round(100 * rank)}%`);
    return path;
  });
  const scales = axes.flatMap(({ ticks }, n) => [
    draw("path", { class: "axis", d: `M${x(n)} ${top}V${bottom}${ticks.map(([place]) => `M${x(n)} ${y(place).toFixed(1)}h${isLast(n) ? 4 : -4}`).join("")}` }),
    ...ticks.map(([place, text]) => label(cut(text, 12), x(n) + (isLast(n) ? 8 : -8), y(place) + 4, isLast(n) ? "start" : "end", "tick halo")),
    label(names[n], x(n), 16, "middle", "axis-name"),
  ]);
  // The best on top: the last one that is drawn.
  const group = draw("g", {}, ...[...paths].reverse());
  let pointer = right;
  const heightAt = (at, across) => {
    const n = Math.min(Math.max(Math.floor(((across - left) / (right - left)) * (axes.length - 1)), 0), axes.length - 2);
    const part = Math.min(Math.max((across - x(n)) / (x(n + 1) - x(n)), 0), 1);
    return y(at[n] + part * (at[n + 1] - at[n]));
  };
  const metric = axes.at(-1).name;
  const words = ({ value, params }) => `${metric} ${value}: ${params.map((text, n) => `${axes[n].name}=${text}`).join(", ")}`;
  return {
    picture: draw("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, group, ...scales),
    count: trials.length, first: 0,
    nearest: (across, down) => nearest(trials.map(({ at }) => heightAt(at, (pointer = Math.min(Math.max(across, left), right)))), down),
    place: (i) => [pointer, heightAt(trials[i].at, pointer)],
    mark: (i) => {
      paths.forEach((path, n) => {
        path.classList.toggle("at", n === i);
        path.classList.toggle("faded", i !== null && n !== i);
      });
      group.append(...[...paths].reverse(), ...(i === null ? [] : [paths[i]]));
    },
    content: (i) => [make("strong", {}, `${metric} ${trials[i].value}`), ...trials[i].params.map((text, n) =>
      make("div", {}, make("span", { class: "muted" }, axes[n].name), make("bdi", {}, text)))],
    text: (i) => words(trials[i]),
    link: (i) => (trials[i].job ? link + trials[i].job : ""),
    label: `${title}; arrow keys move from trial to trial, Enter opens its job`,
    empty: "",
    table: () => table(title, [metric, ...axes.slice(0, -1).map(({ name }) => name)], trials.map(({ value, params }) => [value, ...params])),
  };
}

function cut(text, most) {
  return text.length > most ? `${text.slice(0, Math.max(most - 1, 1))}…` : text;
}

// The cursor: a slider for keyboard and screen reader

const MOVES = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity };

// Adds the cursor to `plot`, a box inside `host`; `scene()` returns what can be pointed at.
function addCursor(host, plot, scene) {
  const tip = make("div", { class: "tip", hidden: "" });
  let [at, isSame] = [null, false];
  const hide = () => {
    tip.hidden = true;
    scene()?.mark(null);
  };
  const move = (to) => {
    const { count, mark, content, text } = scene();
    if (!count) return;
    at = Math.min(Math.max(to, 0), count - 1);
    mark(at);
    if (!tip.isConnected) host.append(tip);
    tip.replaceChildren(...content(at));
    tip.hidden = false;
    settle(host, plot, tip, scene(), at);
    plot.setAttribute("aria-valuemax", count - 1);
    plot.setAttribute("aria-valuenow", at);
    plot.setAttribute("aria-valuetext", text(at));
  };
  const open = () => {
    const link = at === null ? "" : scene().link?.(at);
    if (link) location.href = link;
  };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    const to = scene().nearest(event.clientX - box.left + plot.scrollLeft, event.clientY - box.top);
    if (to >= 0) move(to);
  };
  fill(plot, { tabindex: 0, role: "slider", "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0, "aria-valuetext": "" }, []);
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", (event) => {
    const before = at;
    point(event);
    isSame = before === at;
  });
  // A finger leaves when it is lifted: what it pointed at stays until it points elsewhere.
  plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  plot.addEventListener("blur", hide);
  // A press of the pointer focuses, too, and has its place already.
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && move(at ?? scene().first));
  // A finger opens what it has pointed at before.
  plot.addEventListener("click", (event) => !tip.hidden && (event.pointerType === "mouse" || isSame) && open());
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if (event.key === "Enter") open();
    const page = Math.max(Math.round(scene().count / 10), 1);
    const by = { ...MOVES, PageUp: page, PageDown: -page }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    move((at ?? scene().first - Math.sign(by)) + by);
  });
  return {
    changed: (name) => {
      const { count, label: about } = scene();
      at = at === null || !count ? null : Math.min(at, count - 1);
      plot.setAttribute("aria-label", about);
      plot.setAttribute("aria-valuemax", Math.max(count - 1, 0));
      if (!plot.getAttribute("aria-valuetext")) plot.setAttribute("aria-valuetext", name);
      if (tip.hidden || at === null) return;
      move(at);
    },
  };
}

// The tip stands beside the cursor: of lines in the half without them, else near the dot.
function settle(host, plot, tip, scene, at) {
  const [x, y] = scene.place(at);
  const [box, frame] = [plot.getBoundingClientRect(), host.getBoundingClientRect()];
  const across = x - plot.scrollLeft + box.left - frame.left;
  const fits = across + 14 + tip.offsetWidth <= host.clientWidth;
  const low = plot.offsetHeight - tip.offsetHeight - 8;
  const away = y < plot.offsetHeight / 2 ? y + 14 : y - 14 - tip.offsetHeight;
  const top = scene.isAcross ? (y < plot.offsetHeight / 2 ? Math.max(low, 8) : 8) : away;
  tip.style.left = `${fits ? across + 14 : Math.max(across - tip.offsetWidth - 14, 0)}px`;
  tip.style.top = `${top + box.top - frame.top}px`;
}

// Elements

const NO_DOT = "no trial yet";

class Chart extends HTMLElement {
  static observedAttributes = ["data-chart"];
  #data = null;
  #scene = null;
  #parts = null;

  get data() {
    return this.#data;
  }

  set data(data) {
    this.#data = data;
    if (this.isConnected) this.#show();
  }

  connectedCallback() {
    if (this.#data) this.#show();
    this.#observer.observe(this);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
  }

  attributeChangedCallback(name, old, text) {
    this.data = text ? JSON.parse(text) : null;
  }

  #width = 0;
  #observer = new ResizeObserver(() => {
    if (this.#data && this.clientWidth !== this.#width) this.#show();
  });

  // A fragment of a live page that has changed; what is drawn is no business of the page's.
  update(fresh) {
    if (this.dataset.chart !== fresh.dataset.chart) this.dataset.chart = fresh.dataset.chart;
  }

  #build() {
    const plot = make("div", { class: "plot" });
    const key = make("ul", { class: "key" });
    const body = make("div", { tabindex: 0, role: "group", "aria-label": "Values as a table" });
    const details = make("details", { class: "values" }, make("summary", {}, "Values as a table"), body);
    const fillTable = () => details.open && body.replaceChildren(this.#scene.table());
    details.addEventListener("toggle", fillTable);
    this.replaceChildren(plot, key, details);
    this.#parts = { plot, key, details, fillTable, cursor: addCursor(this, plot, () => this.#scene) };
  }

  #show() {
    if (!this.#parts) this.#build();
    const { plot, key, details, fillTable, cursor } = this.#parts;
    this.#width = this.clientWidth;
    const kind = this.#data.kind === "parallel" ? parallel : lines;
    this.#scene = kind(this.#data, Math.max(this.clientWidth, 240));
    const { picture, empty } = this.#scene;
    plot.replaceChildren(empty ? make("p", { class: "chart-note" }, empty) : picture);
    details.hidden = Boolean(empty);
    this.#showKey(key, plot);
    fillTable();
    cursor.changed(this.#data.title);
  }

  // The names of the lines, each with its last value; a pointer on one fades the others.
  #showKey(key, plot) {
    const { series = [], hasKey = series.length > 0 } = this.#data;
    key.hidden = !hasKey;
    if (!hasKey) return;
    key.replaceChildren(...series.map((line) => {
      const last = make("b", {}, numberText(line.y.findLast((value) => value !== null)));
      return make("li", {}, swatch(line.ink, line.isDashed), ...named(line), last);
    }));
    const drawn = [...plot.querySelectorAll("svg > .line, svg > .spot")];
    if (drawn.length !== series.length) return;
    [...key.children].forEach((item, i) => {
      item.onpointerenter = () => drawn.forEach((line, n) => line.classList.toggle("faded", n !== i));
      item.onpointerleave = () => drawn.forEach((line) => line.classList.remove("faded"));
    });
  }
}

class Dots extends HTMLElement {
  #cursor = null;

  connectedCallback() {
    this.#cursor ??= addCursor(this, this, () => dots(this));
    this.#cursor.changed(NO_DOT);
  }

  update(fresh) {
    this.querySelector("svg").replaceWith(fresh.querySelector("svg"));
    this.#cursor?.changed(NO_DOT);
  }
}

// The circles of a finished picture, from left to right. Their titles would open a second tip, and
// a slider has no links inside.
function dots(host) {
  const circles = [...host.querySelectorAll("circle")];
  for (const circle of circles) {
    const title = circle.querySelector("title");
    if (!title) continue;
    const link = circle.closest("a");
    circle.dataset.text = title.textContent;
    circle.dataset.href = link?.getAttribute("href") ?? "";
    title.remove();
    link?.replaceWith(circle);
  }
  circles.sort((a, b) => a.cx.baseVal.value - b.cx.baseVal.value || a.cy.baseVal.value - b.cy.baseVal.value);
  const box = host.getBoundingClientRect();
  const place = (i) => {
    const own = circles[i].getBoundingClientRect();
    return [own.left + own.width / 2 - box.left, own.top + own.height / 2 - box.top];
  };
  return {
    count: circles.length, first: 0, place,
    nearest: (x, y) => {
      const far = circles.map((_, i) => Math.hypot(place(i)[0] - x, place(i)[1] - y));
      return far.length && Math.min(...far) < 40 ? far.indexOf(Math.min(...far)) : -1;
    },
    mark: (at) => circles.forEach((circle, i) => circle.classList.toggle("at", i === at)),
    content: (i) => dotLines(circles[i].dataset.text),
    text: (i) => circles[i].dataset.text,
    link: (i) => circles[i].dataset.href,
    label: `${host.querySelector("svg")?.getAttribute("aria-label") ?? ""}; arrow keys move from trial to trial, Enter opens its job`,
  };
}

// "accuracy 0.9: a=1, b=2, job 12345678": the metric is the heading.
function dotLines(text) {
  const at = text.indexOf(": ");
  return [make("strong", {}, at < 0 ? text : text.slice(0, at)), make("div", {}, at < 0 ? "" : text.slice(at + 2))];
}

customElements.define("zoo-chart", Chart);
customElements.define("zoo-dots", Dots);
