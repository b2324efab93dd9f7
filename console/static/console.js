// The floor, live: the server sends the part that changes, ready to show. Without scripts the page loads itself anew.
"use strict";
const floor = document.getElementById("floor");
const events = new EventSource(floor.dataset.events);
events.addEventListener("floor", (event) => {
  if (floor.querySelector("button:active")) return; // a press that has begun must end on the same button
  const focused = floor.contains(document.activeElement) ? document.activeElement.id : "";
  floor.innerHTML = JSON.parse(event.data);
  if (focused) document.getElementById(focused)?.focus();
});
events.addEventListener("over", () => {
  events.close();
  window.location.reload();
});
window.addEventListener("pagehide", () => events.close());
