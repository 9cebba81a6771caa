// The data of the page, and helpers; those that build elements are in charts.js.
const { jobs, pooled, images, strokes, missed } = JSON.parse(document.getElementById("data").textContent);
function place(section) {
  return document.querySelector(`#${section} > .script`);
}

// Probabilities and shares; metrics such as the accuracy are written by numberText.
function percent(value, digits = 2) {
  return `${(100 * value).toFixed(digits)} %`;
}

// Commands stand between backticks.
function withCode(text) {
  return text.split("`").map((part, n) => (n % 2 ? make("code", {}, part) : part));
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
        const accuracy = job.accuracy === null ? "" : `${numberText(job.accuracy)} `;
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
