// The floor, live: the server sends the part that changes, ready to show. Without scripts the page loads itself anew.
"use strict";
const floor = document.getElementById("floor");
const events = new EventSource(floor.dataset.events);
events.addEventListener("floor", (event) => {
  floor.innerHTML = JSON.parse(event.data);
});
events.addEventListener("over", () => {
  events.close();
  window.location.reload();
});
window.addEventListener("pagehide", () => events.close());
