// Keys for quality control; each of them presses, or goes to, what is there without it. Not while something is typed.
"use strict";
let group = null; // of defects, once its figure was pressed; the next figure goes to one of them
document.addEventListener("keydown", (event) => {
  if (event.target.closest("textarea, select, input") || event.altKey || event.ctrlKey || event.metaKey) return;
  if (/^[1-9]$/.test(event.key)) {
    const chosen = group ?? document.querySelector(`fieldset[data-group="${event.key}"]`);
    const place = group ? event.key - 1 : 0;
    group = group ? null : chosen;
    chosen?.querySelectorAll("button")[place]?.focus();
    return;
  }
  group = null;
  const key = { n: "ArrowRight", p: "ArrowLeft" }[event.key] ?? event.key;
  document.querySelector(`[data-key="${CSS.escape(key)}"]`)?.click();
});
