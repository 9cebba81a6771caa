// Choosing a model shows its params at once; without scripts a button does.
// Pressing twice trains once.

const choose = document.getElementById("choose");
if (choose) {
  choose.hidden = true;
  document.getElementById("model").addEventListener("change", (event) => event.target.form.requestSubmit());
}

const train = document.querySelector("button.main");
train?.form.addEventListener("submit", () => setTimeout(() => (train.disabled = true)));
addEventListener("pageshow", () => train && (train.disabled = false));
