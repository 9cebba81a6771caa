// Misclassified images or rows: of one job, the most confident first; or those that most jobs got
// wrong. A row has no picture.
const judged = byAccuracy(jobs);

if (place("mistakes")) gallery(place("mistakes"));

function gallery(room) {
  const first = judged.find((job) => job.mistakes.length) ?? judged[0];
  const [label, select] = chooser("Of ", judged, first);
  const sets = missed.map(({ test_set: name }) => make("option", { value: name }, `the images of ${name} that most jobs got wrong`));
  if (sets.length) {
    select.prepend(make("optgroup", { label: "All jobs" }, ...sets));
    sets[0].selected = true;
  }
  const says = make("p", { class: "muted", "aria-live": "polite" });
  const list = make("ul", { class: "gallery" });
  const show = () => {
    const job = chosenOf(select);
    says.replaceChildren(...withCode(job ? about(job) : "The number of jobs that misclassified each image, of those evaluated on it."));
    const cards = job ? ofJob(job) : missed.find((each) => each.test_set === select.value).images.map(ofMany);
    list.replaceChildren(...cards);
  };
  select.addEventListener("change", show);
  room.append(make("div", { class: "tools" }, label), says, list);
  show();
}

function about(job) {
  if (job.note && !job.mistakes.length) return job.note;
  const shown = job.mistakes.length;
  if (!job.wrong) return `It got all ${job.unit} right.`;
  const which = job.mistakes[0]?.[3] === null ? "the first" : "the surest first";
  const some = shown < job.wrong ? `, ${shown} of them here` : "";
  return `${job.wrong} ${job.unit} taken for another class${some}, ${which}. ${job.note}`;
}

function ofJob(job) {
  return job.mistakes.map(([row, label, predicted, sure, labelSure]) => {
    const [was, said] = [job.classes[label], job.classes[predicted]];
    const odds = sure === null ? [] : [odd(said, sure, "wrong"), odd(was, labelSure, "right")];
    const one = job.unit.slice(0, -1);
    const alt = `${one} ${row}: ${was} taken for ${said}${sure === null ? "" : `, ${percent(sure, 1)} sure`}`;
    return card(job.unit === "images" && `${job.images} ${row}`, alt, was, said, odds, `${one} ${row}`);
  });
}

function ofMany({ image, label, predicted, jobs: asked }) {
  const count = predicted.reduce((sum, [, n]) => sum + n, 0);
  const alt = `${image}: ${label} taken for ${predicted.map(([name]) => name).join(", ")}`;
  const what = predicted.map(([name, n]) => (n > 1 ? `${name} (${n})` : name)).join(", ");
  return card(image, alt, label, what, [], `${count} of ${asked} jobs · ${image}`);
}

function card(image, alt, was, said, odds, foot) {
  const picture = !image ? null : images[image]
    ? make("img", { src: `data:image/png;base64,${images[image]}`, alt, width: 84, height: 84, class: strokes.includes(image.replace(/ \d+$/, "")) ? "strokes" : "" })
    : make("div", { class: "absent" }, "no image here");
  const head = make("p", { class: "taken" }, make("bdi", { class: "right" }, was), " → ", make("bdi", { class: "wrong" }, said));
  return make("li", {}, ...(picture ? [picture] : []), make("div", {}, head, ...odds, make("p", { class: "muted small" }, foot)));
}

function odd(name, share, kind) {
  const bar = draw("svg", { class: `odds ${kind}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "track", width: 100, height: 6 }), draw("rect", { width: Math.max(100 * share, 0.5), height: 6 }));
  return make("p", { class: "odd" }, make("bdi", {}, name), bar, make("span", {}, percent(share, share < 0.01 ? 2 : 0)));
}
