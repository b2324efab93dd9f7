// The arrow keys turn the pages of a batch, as the links do; not while something is typed, nor with another key held.
"use strict";
document.addEventListener("keydown", (event) => {
  const relation = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const typing = event.target.closest("input, select, textarea, [contenteditable]");
  if (!relation || typing || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = document.querySelector(`a[rel="${relation}"]`);
  if (link) link.click();
});
