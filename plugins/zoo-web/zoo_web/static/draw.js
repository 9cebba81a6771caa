// The canvas: draw with mouse, finger or pen; each stroke requests predictions.

import { say } from "./live.js";

const PAPER = "#000";
const INK = "#fff";
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const brush = document.getElementById("brush");
const seen = document.getElementById("seen");
const said = document.getElementById("said");
const opinions = [...document.querySelectorAll("#opinions > li")];
const dataset = document.querySelector(".drawing").dataset.dataset;
const csrf = document.querySelector('meta[name="csrf"]').content;
const SOON = 250;

let last = null;
let timer = 0;
let asking = null;
let isBlank = true;

function clear() {
  pen.fillStyle = PAPER;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  seen.getContext("2d").clearRect(0, 0, 28, 28);
  asking?.abort();
  clearTimeout(timer);
  timer = 0;
  isBlank = true;
  said.textContent = "";
  opinions.forEach(forget);
}

function forget(opinion) {
  opinion.classList.remove("is-asked");
  opinion.querySelector(".top").textContent = "";
  opinion.querySelector(".bars").setAttribute("aria-label", "no drawing yet");
  for (const bar of opinion.querySelectorAll(".class")) {
    bar.firstElementChild.style.setProperty("--part", 0);
    bar.classList.remove("is-top");
  }
}

function spot(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function stroke(event) {
  const [x, y] = spot(event);
  pen.strokeStyle = INK;
  pen.lineCap = pen.lineJoin = "round";
  pen.lineWidth = brush.value;
  pen.beginPath();
  pen.moveTo(...(last ?? [x, y]));
  pen.lineTo(x, y);
  pen.stroke();
  last = [x, y];
  isBlank = false;
  // Also while drawing, but not for every point.
  if (!timer) timer = setTimeout(ask, SOON);
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  last = null;
  stroke(event);
});
canvas.addEventListener("pointermove", (event) => {
  if (last === null) return;
  for (const each of event.getCoalescedEvents?.() ?? [event]) stroke(each);
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    if (last === null) return;
    last = null;
    clearTimeout(timer);
    timer = setTimeout(ask, 0);
  });
}

async function ask() {
  timer = 0;
  if (isBlank || !opinions.length) return;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const picture = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (signal.aborted) return;
  opinions.forEach((each) => each.classList.add("is-asked"));
  try {
    const answer = await fetch(`/draw/predictions?dataset=${encodeURIComponent(dataset)}`, {
      method: "POST",
      body: picture,
      headers: { "X-CSRF-Token": csrf, "Content-Type": "image/png" },
      signal,
    });
    if (!answer.ok) return say(await answer.text());
    for await (const prediction of lines(answer.body)) if (!signal.aborted) show(prediction);
  } catch (error) {
    if (error.name !== "AbortError") say("The server does not answer. Does `zoo ui` still run?");
  }
}

async function* lines(body) {
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

function show(prediction) {
  if (!prediction.job) {
    said.textContent = prediction.error ?? "";
    if (prediction.error) opinions.forEach(forget);
    if (prediction.pixels) paint(prediction.pixels);
    return;
  }
  const opinion = opinions.find((each) => each.dataset.job === prediction.job);
  if (!opinion) return;
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

function paint(text) {
  const grey = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const image = new ImageData(28, 28);
  grey.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
  seen.getContext("2d").putImageData(image, 0, 0);
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

function percent(part) {
  return `${(100 * part).toFixed(part > 0.995 || part < 0.1 ? 1 : 0)} %`;
}

// A picture from a file is drawn on the canvas.
document.getElementById("picture").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  clear();
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(canvas.width / picture.width, canvas.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    isBlank = false;
    ask();
  } catch {
    said.textContent = "The browser cannot read this file as a picture.";
  }
  event.target.value = "";
});

document.getElementById("clear").addEventListener("click", clear);
clear();
