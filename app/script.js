// Opens the passage behind a citation chip, and closes it again. One listener for the page: answers come and go.
document.addEventListener("click", (event) => {
  const chip = event.target.closest?.(".chip");
  if (chip) return openPassage(chip);
  if (event.target.closest?.("#passage-close")) closePassage();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closePassage();
});
let opener = null;
function openPassage(chip) {
  const held = document.getElementById(chip.dataset.passage);
  const panel = document.getElementById("passage");
  if (!held || !panel) return;
  closePassage();
  opener = chip;
  chip.setAttribute("aria-expanded", "true");
  const body = document.getElementById("passage-body");
  body.replaceChildren(held.content.cloneNode(true));
  panel.hidden = false;
  document.body.classList.add("beside"); // makes room for the panel where the window is wide
  body.focus({ preventScroll: true });
  body.querySelector("mark")?.scrollIntoView({ block: "center" });
}
function closePassage() {
  const panel = document.getElementById("passage");
  if (!panel || panel.hidden) return;
  panel.hidden = true;
  document.body.classList.remove("beside");
  opener?.removeAttribute("aria-expanded");
  opener?.focus({ preventScroll: true });
}

// The mock exam's clock. The server ends a sitting whose time is up; this only asks it to look.
let rung = "";
setInterval(() => {
  for (const clock of document.querySelectorAll(".clock[data-ends]")) {
    const left = Math.max(0, Math.round(clock.dataset.ends - Date.now() / 1000));
    clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    clock.classList.toggle("late", left < 300);
    if (left === 0 && rung !== clock.dataset.ends) {
      rung = clock.dataset.ends;
      document.getElementById("exam-over")?.click();
    }
  }
}, 500);
