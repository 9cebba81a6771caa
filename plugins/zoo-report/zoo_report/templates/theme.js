// Dark, light or the system's theme; stored if the browser allows it for files.
const themes = ["auto", "light", "dark"];
const toggle = document.getElementById("theme");

function remembered() {
  try {
    return localStorage.getItem("zoo-theme") ?? "auto";
  } catch {
    return "auto";
  }
}

function wear(theme) {
  document.documentElement.dataset.theme = theme;
  toggle.textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem("zoo-theme", theme);
  } catch {
    // Without storage the theme is not remembered.
  }
}

toggle.hidden = false;
toggle.addEventListener("click", () => {
  const now = themes.indexOf(document.documentElement.dataset.theme);
  wear(themes[(now + 1) % themes.length]);
});
wear(themes.includes(remembered()) ? remembered() : "auto");

// A link to a job opens its details.
function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", unfold);
unfold();
document.documentElement.classList.add("scripted");
