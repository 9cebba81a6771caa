// A file for the models: chosen or dropped; pictures go to all, rows of a table to the chosen one.

import { csrf, say, trouble_of } from "./live.js";
import { forget, lines, paint, show } from "./predictions.js";

const place = document.querySelector(".asking");
const drop = document.getElementById("drop");
const input = document.getElementById("file");
const chosen = document.getElementById("model");
const seen = document.getElementById("seen");
const said = document.getElementById("said");
const rows = document.getElementById("rows");
const opinions = [...document.querySelectorAll("#opinions > li")];

let file = null;
let asking = null;
let address = "";

async function ask() {
  if (!file) return;
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  said.textContent = `Reading ${file.name} ...`;
  rows.replaceChildren();
  opinions.forEach((each) => each.classList.add("is-asked"));
  const wanted = new URLSearchParams(place.dataset.query);
  wanted.set("name", file.name);
  if (chosen) wanted.set("job", chosen.value);
  try {
    const answer = await fetch(`/draw/file?${wanted}`, {
      method: "POST",
      body: file,
      headers: { "X-CSRF-Token": csrf(), "Content-Type": "application/octet-stream" },
      signal,
    });
    if (answer.status === 403) trouble_of(403);
    else say("");
    if (!answer.ok) {
      said.textContent = await answer.text();
      return opinions.forEach(forget);
    }
    said.textContent = file.name;
    for await (const each of lines(answer.body)) if (!signal.aborted) tell(each);
  } catch (error) {
    if (error.name !== "AbortError") say("The server does not answer. Does `zoo ui` still run, and the file still exist?");
  }
}

function tell(answer) {
  const opinion = opinions.find((each) => each.dataset.job === answer.job);
  if (answer.rows) {
    if (opinion) forget(opinion);
    if (!rows.hasChildNodes()) table(answer);
  } else if (opinion) {
    show(opinion, answer);
    if (answer.pixels) {
      seen.closest("figure").hidden = false;
      paint(seen, answer.pixels, answer.shape);
      said.textContent = [file.name, answer.note].filter(Boolean).join(". ");
    }
  } else {
    said.textContent = answer.error ?? "";
    opinions.forEach(forget);
  }
}

function table({ columns, rows: values, total, notes, csv }) {
  const count = document.createElement("p");
  const shown = values.length < total ? `, the first ${values.length} are shown` : "";
  count.textContent = `${total.toLocaleString("en")} ${total === 1 ? "row" : "rows"}${shown}. `;
  const all = document.createElement("a");
  URL.revokeObjectURL(address);
  address = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  Object.assign(all, { href: address, className: "button", textContent: "Download all as CSV" });
  all.download = `${file.name.replace(/\.[^.]*$/, "")}-predicted.csv`;
  count.append(all);
  const box = document.createElement("div");
  box.className = "scroll";
  box.tabIndex = 0;
  const found = box.appendChild(document.createElement("table"));
  const head = found.createTHead().insertRow();
  for (const name of columns) {
    const cell = head.appendChild(document.createElement("th"));
    cell.scope = "col";
    cell.textContent = name;
  }
  const body = found.createTBody();
  for (const row of values) {
    const line = body.insertRow();
    row.forEach((value, i) => {
      const cell = line.insertCell();
      const isNumber = typeof value === "number";
      cell.textContent = columns[i] === "probability" && isNumber ? value.toFixed(4) : (value ?? "");
      cell.classList.toggle("num", isNumber);
      cell.classList.toggle("predicted", columns[i] === "predicted");
    });
  }
  rows.replaceChildren(...notes.map(note), count, box);
}

function note(text) {
  const line = document.createElement("p");
  line.className = "note";
  line.textContent = text;
  return line;
}

function take(files) {
  if (!files.length) return;
  [file] = files;
  ask();
}

input.addEventListener("change", () => take(input.files));
chosen?.addEventListener("change", ask);
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("is-over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("is-over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("is-over");
  take(event.dataTransfer.files);
});
