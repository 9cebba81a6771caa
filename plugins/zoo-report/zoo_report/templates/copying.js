// A button beside each command copies it.
for (const command of document.querySelectorAll(".command")) {
  const button = make("button", { type: "button", class: "quiet", "aria-label": "Copy the command" }, "Copy");
  button.addEventListener("click", async () => {
    const text = command.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  command.append(button);
}
