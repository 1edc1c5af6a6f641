// Light and dark: as the system has it, or as chosen here.

import { announce, button } from "./dom.js";

const KEY = "enforcer-theme";
const THEMES = [["system", "◐ System"], ["light", "○ Light"], ["dark", "● Dark"]];

function stored() {
  try {
    return localStorage.getItem(KEY) ?? "system";
  } catch {
    // A report in a file may have no storage.
    return "system";
  }
}

let theme = stored();

function apply() {
  document.documentElement.dataset.theme = theme;
}

/** A button that goes from one theme to the next. */
export function themeSwitch() {
  apply();
  const label = () => THEMES.find(([name]) => name === theme)?.[1] ?? THEMES[0][1];
  const element = button(label(), () => {
    const at = THEMES.findIndex(([name]) => name === theme);
    theme = THEMES[(at + 1) % THEMES.length][0];
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // It lasts until the page is closed.
    }
    apply();
    element.textContent = label();
    announce(`Theme: ${theme}`);
  }, { class: "quiet", id: "theme", title: "Theme: system, light or dark (T)" });
  return element;
}
