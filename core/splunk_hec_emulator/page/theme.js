// Runs before the page is painted, so that a chosen theme does not flash; everything else is in modules.
(() => {
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const { chosen } = root.dataset;
    root.dataset.theme = chosen === "auto" ? (prefersDark.matches ? "dark" : "light") : chosen;
    document.dispatchEvent(new Event("themechange"));
  };
  let stored = null;
  try { stored = localStorage.getItem("hec-emulator-theme"); } catch { /* storage may be off */ }
  root.dataset.chosen = ["light", "dark"].includes(stored) ? stored : "auto";
  apply();
  prefersDark.addEventListener("change", apply);
  window.chooseTheme = (next) => {
    root.dataset.chosen = next;
    try { localStorage.setItem("hec-emulator-theme", next); } catch { /* it then lasts until the page is left */ }
    apply();
  };
})();
