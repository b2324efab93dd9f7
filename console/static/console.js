// The floor, live: the server sends the part that changes, ready to show. Without scripts the page loads itself anew.
"use strict";
const floor = document.getElementById("floor");
const events = new EventSource(floor.dataset.events);
const scrolled = () => [...floor.querySelectorAll(".wide")];
// what the keyboard stands on, by what it leads to: another thing of that kind stands there after the change
const leadsTo = (thing) => thing.id || thing.href || thing.ariaLabel;
events.addEventListener("floor", (event) => {
  if (floor.querySelector("button:active")) return; // a press that has begun must end on the same button
  const focused = floor.contains(document.activeElement) ? leadsTo(document.activeElement) : null;
  const sideways = scrolled().map((table) => table.scrollLeft);
  floor.innerHTML = JSON.parse(event.data);
  scrolled().forEach((table, at) => { table.scrollLeft = sideways[at] || 0; });
  if (focused) {
    const again = [...floor.querySelectorAll("a, button, [tabindex]")].find((thing) => leadsTo(thing) === focused);
    if (again) again.focus({ preventScroll: true });
  }
});
events.addEventListener("over", () => {
  events.close();
  window.location.reload();
});
window.addEventListener("pagehide", () => events.close());
