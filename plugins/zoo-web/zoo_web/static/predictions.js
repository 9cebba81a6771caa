// The answers of models: lines of JSON, bars, and the image that they have seen.

export function forget(opinion) {
  opinion.classList.remove("is-asked");
  opinion.querySelector(".top").textContent = "";
  opinion.querySelector(".bars").setAttribute("aria-label", "no input yet");
  for (const bar of opinion.querySelectorAll(".class")) {
    bar.firstElementChild.style.setProperty("--part", 0);
    bar.classList.remove("is-top");
  }
}

export async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const found = (rest + value).split("\n");
    rest = found.pop();
    for (const line of found) yield JSON.parse(line);
  }
}

// Show the answer of one model in its place of the list.
export function show(opinion, prediction) {
  opinion.classList.remove("is-asked");
  const state = opinion.querySelector(".state");
  if (prediction.error) {
    forget(opinion);
    const why = document.createElement("span");
    why.className = "trouble";
    why.dataset.key = "state";
    why.textContent = prediction.error;
    state.replaceChildren(why);
    return;
  }
  state.replaceChildren();
  bars(opinion, prediction);
}

// Paint bytes in base64, [height, width] grey or [height, width, 3].
export function paint(canvas, text, [height, width, channels = 1]) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = channels === 1 ? Array(3).fill(bytes[i]) : bytes.subarray(3 * i, 3 * i + 3);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function bars(opinion, { classes, label, probabilities }) {
  const place = opinion.querySelector(".bars");
  while (place.children.length < classes.length) {
    const column = document.createElement("div");
    column.className = "class";
    column.append(document.createElement("i"), document.createElement("span"));
    place.append(column);
  }
  while (place.children.length > classes.length) place.lastChild.remove();
  classes.forEach((name, i) => {
    const column = place.children[i];
    column.firstElementChild.style.setProperty("--part", probabilities?.[i] ?? 0);
    column.lastElementChild.textContent = name;
    column.classList.toggle("is-top", i === label);
    column.title = probabilities ? `${name}: ${percent(probabilities[i])}` : name;
  });
  const top = opinion.querySelector(".top");
  const [digit, sure] = [document.createElement("b"), document.createElement("small")];
  digit.textContent = classes[label];
  sure.textContent = probabilities ? percent(probabilities[label]) : "no probability";
  top.replaceChildren(digit, sure);
  const order = [...classes.keys()].sort((a, b) => probabilities?.[b] - probabilities?.[a]).slice(0, 3);
  const best = order.map((i) => `${classes[i]} ${percent(probabilities?.[i])}`).join(", ");
  place.setAttribute("aria-label", probabilities ? best : "no probabilities");
}

export function percent(part) {
  return `${(100 * part).toFixed(part > 0.995 || part < 0.1 ? 1 : 0)} %`;
}
