// The data of the page, and helpers to build elements. Texts are only set as text.
const { jobs, pooled, images, strokes, missed } = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const INKS = 8; // colours of curves in the style sheet

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function place(section) {
  return document.querySelector(`#${section} > .script`);
}

function percent(value, digits = 2) {
  return `${(100 * value).toFixed(digits)} %`;
}

function short(id) {
  return id.slice(0, 8);
}

function title(job) {
  return `${job.name} (${job.dataset}, ${short(job.id)})`;
}

// The most accurate first; single folds and results on training images last.
function byAccuracy(some) {
  return [...some].sort((a, b) => a.aside - b.aside || (b.accuracy ?? -1) - (a.accuracy ?? -1));
}

// A list to choose a job from, grouped by dataset.
function chooser(label, some, chosen) {
  const select = make("select");
  for (const dataset of new Set(some.map((job) => job.dataset))) {
    const options = some
      .filter((job) => job.dataset === dataset)
      .map((job) => {
        const accuracy = job.accuracy === null ? "" : `${percent(job.accuracy)} `;
        const text = `${accuracy}${job.name} (${short(job.id)})`;
        return make("option", { value: job.id, selected: job === chosen && "" }, text);
      });
    select.append(make("optgroup", { label: dataset }, ...options));
  }
  return [make("label", {}, label, select), select];
}

function chosenOf(select) {
  return [...jobs, ...pooled].find((each) => each.id === select.value);
}
