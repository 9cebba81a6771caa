// The form of a training: another model or kind shows its fields, what was typed is kept.
// Without scripts a button does it. A second press does not submit again. A table is read from a
// file into its field.

const hide = () => {
  document.getElementById("change")?.remove();
  document.querySelectorAll(".pickfile").forEach((each) => (each.hidden = false));
};
const busy = (is) => document.querySelectorAll("button.main").forEach((each) => (each.disabled = is));

let newest = 0;
document.addEventListener("change", async ({ target }) => {
  if (target.dataset.into && target.files[0]) document.getElementById(target.dataset.into).value = await target.files[0].text();
  if (!("change" in target.dataset)) return;
  const fields = new URLSearchParams(new FormData(target.form));
  fields.set("change", "yes");
  const asked = (newest += 1);
  try {
    const answer = await fetch("/submit", { method: "POST", body: fields, headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (asked !== newest) return; // changed again meanwhile
    for (const [name, text] of new FormData(target.form)) {
      const field = fresh.querySelector(".sheet").elements[name];
      if (field && text !== fields.get(name)) field.value = text; // typed meanwhile
    }
    document.querySelector("main").replaceChildren(...fresh.querySelector("main").childNodes);
  } catch {
    target.form.append(Object.assign(document.createElement("input"), { type: "hidden", name: "change", value: "yes" }));
    return target.form.submit();
  }
  hide();
  document.getElementById(target.id)?.focus();
});

document.addEventListener("submit", () => setTimeout(() => busy(true)));
addEventListener("pageshow", () => busy(false));
hide();
