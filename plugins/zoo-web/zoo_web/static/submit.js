// Choosing a model shows its params at once; without scripts a button does.

const choose = document.getElementById("choose");
if (choose) {
  choose.hidden = true;
  document.getElementById("model").addEventListener("change", (event) => event.target.form.requestSubmit());
}
