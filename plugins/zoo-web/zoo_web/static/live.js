// Updates a live page with the HTML fragments that the server sends.

const connection = document.getElementById("connection");
const trouble = document.getElementById("trouble");

export function say(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

// The server escapes values; scripts could not run here either (the page's CSP).
function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return template.content.firstElementChild;
}

// Makes `old` like `fresh` but keeps elements where possible, so that focus and clicks in progress
// are not lost.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const children = [...fresh.childNodes];
  [...old.childNodes].slice(children.length).forEach((extra) => extra.remove());
  children.forEach((child, i) => (old.childNodes[i] ? morph(old.childNodes[i], child) : old.append(child)));
}

// Fragments in order; null means that the page has the fragment already.
function fit(place, pieces) {
  const known = new Map([...place.children].map((each) => [each.dataset.key, each]));
  let before = null;
  for (const [key, html] of pieces) {
    let piece = known.get(key);
    known.delete(key);
    if (!piece) {
      if (html === null) continue;
      piece = parsed(html);
    } else if (html !== null) {
      morph(piece, parsed(html));
    }
    const next = before ? before.nextElementSibling : place.firstElementChild;
    if (next !== piece) place.insertBefore(piece, next);
    before = piece;
  }
  known.forEach((gone) => gone.remove());
}

// The incomplete line, such as a progress bar: the next event repeats it.
const open = document.createTextNode("");

function grow(log, { lines, rest }) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  open.remove();
  let text = "";
  const begin = (attempt) => {
    if (log.dataset.attempt && log.dataset.attempt !== String(attempt)) text += `--- attempt ${attempt}\n`;
    log.dataset.attempt = attempt;
  };
  for (const [attempt, line] of lines) {
    begin(attempt);
    text += `${line}\n`;
  }
  begin(rest[0]);
  if (text) log.append(text);
  open.data = rest[1];
  log.append(open);
  while (log.childNodes.length > 4000) log.firstChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function listen(address) {
  const source = new EventSource(address);
  source.addEventListener("open", () => {
    connection.textContent = "live";
    connection.className = "is-live";
    say("");
  });
  source.addEventListener("parts", (event) => {
    for (const [name, pieces] of Object.entries(JSON.parse(event.data))) {
      const place = document.querySelector(`[data-place="${CSS.escape(name)}"]`);
      if (place) fit(place, pieces);
    }
  });
  source.addEventListener("log", (event) => grow(document.getElementById("log"), JSON.parse(event.data)));
  source.addEventListener("trouble", (event) => say(JSON.parse(event.data)));
  source.addEventListener("end", () => {
    source.close();
    connection.textContent = "";
    connection.className = "";
    document.body.dataset.ended = "yes";
  });
  source.addEventListener("error", () => {
    connection.className = "is-lost";
    const isOver = source.readyState === EventSource.CLOSED;
    connection.textContent = isOver ? "not connected" : "connecting again …";
    if (isOver) say("The connection has ended: reload the page, or open the address that `zoo ui` printed.");
  });
  addEventListener("pagehide", () => source.close());
}

// Buttons of a live page do not leave it: the result comes with the next update.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!["cancel", "stop"].includes(form.dataset.act) || !document.body.dataset.live) return;
  event.preventDefault();
  form.querySelector("button").disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (!answer.ok) say("The request was refused. Reload the page and try again.");
  } catch {
    say("The server does not answer. Does `zoo ui` still run?");
  }
});

// A page restored from the browser's back/forward cache has closed its stream.
addEventListener("pageshow", (event) => event.persisted && location.reload());

if (document.body.dataset.live) listen(document.body.dataset.live);
