// The canvas: draw with mouse, finger or pen; each stroke requests predictions.

import { csrf, say, trouble_of } from "./live.js";
import { forget, lines, paint, show } from "./predictions.js";

const PAPER = "#000";
const INK = "#fff";
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const brush = document.getElementById("brush");
const seen = document.getElementById("seen");
const said = document.getElementById("said");
const opinions = [...document.querySelectorAll("#opinions > li")];
const { query } = document.querySelector(".drawing").dataset;
const SOON = 250;

let last = null;
let timer = 0;
let asking = null;
let isBlank = true;

function clear() {
  pen.fillStyle = PAPER;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  seen.getContext("2d").clearRect(0, 0, seen.width, seen.height);
  asking?.abort();
  clearTimeout(timer);
  timer = 0;
  isBlank = true;
  said.textContent = "";
  opinions.forEach(forget);
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
    const answer = await fetch(`/draw/predictions?${query}`, {
      method: "POST",
      body: picture,
      headers: { "X-CSRF-Token": csrf(), "Content-Type": "image/png" },
      signal,
    });
    if (!answer.ok) return trouble_of(answer.status);
    say("");
    for await (const prediction of lines(answer.body)) if (!signal.aborted) tell(prediction);
  } catch (error) {
    if (error.name !== "AbortError") trouble_of(0);
  }
}

function tell(prediction) {
  const opinion = opinions.find((each) => each.dataset.job === prediction.job);
  if (opinion) return show(opinion, prediction);
  said.textContent = prediction.error ?? "";
  if (prediction.error) opinions.forEach(forget);
  if (prediction.pixels) paint(seen, prediction.pixels, [seen.height, seen.width]);
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
