// Updates a live page with the HTML fragments that the server sends.

const connection = document.getElementById("connection");
const trouble = document.getElementById("trouble");

export function say(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

export const csrf = () => document.querySelector('meta[name="csrf"]').content;

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
  if (old.update) return old.update(fresh); // a chart draws itself
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

// The page asks again until the server is back; then its forms get the token of the new session.
const AGAIN = 2000;
const GONE = "The server does not answer. Does `zoo ui` still run? The page goes on as soon as it is back.";
const MOVED = "The server refuses this. Reload the page and try again.";
const LOCKED = "The server was started again and asks for its new token. ";

export function trouble_of(status) {
  if (status !== 403) return say(status ? MOVED : GONE);
  const link = document.createElement("a");
  link.href = location.href;
  link.textContent = "Enter the token";
  say(LOCKED);
  trouble.append(link);
}

async function renew() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return answer.status;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const { content } = fresh.querySelector('meta[name="csrf"]');
  document.querySelector('meta[name="csrf"]').content = content;
  for (const each of document.querySelectorAll('input[name="csrf"]')) each.value = content;
  return answer.status;
}

async function recover(address) {
  let status = 0;
  try {
    status = await renew();
  } catch {
    // Not there: the same as a status of none.
  }
  if (status === 200) {
    // The new stream repeats the log.
    const log = document.getElementById("log");
    log?.replaceChildren();
    delete log?.dataset.attempt;
    return listen(address);
  }
  trouble_of(status);
  setTimeout(() => recover(address), AGAIN);
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
    connection.textContent = "connecting again …";
    // The browser asks again by itself, but gives up at the first refusal.
    if (source.readyState === EventSource.CLOSED) recover(address);
    else trouble_of(0);
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
    if (!answer.ok) trouble_of(answer.status);
    else if (!answer.redirected) form.submit(); // it asks first: show the question
  } catch {
    trouble_of(0);
  }
});

// A page restored from the browser's back/forward cache has closed its stream.
addEventListener("pageshow", (event) => event.persisted && location.reload());

if (document.body.dataset.live) listen(document.body.dataset.live);
