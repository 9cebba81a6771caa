// Show the params of a model when it is chosen; without scripts a button does.
// A second press does not submit again.

const choose = document.getElementById("choose");
if (choose) {
  choose.hidden = true;
  document.getElementById("model").addEventListener("change", (event) => event.target.form.requestSubmit());
}

const train = document.querySelector("button.main");
train?.form.addEventListener("submit", () => setTimeout(() => (train.disabled = true)));
addEventListener("pageshow", () => train && (train.disabled = false));
