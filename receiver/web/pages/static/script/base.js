"use strict";
// The script of all pages, made of the files of this folder. Each part looks for its own elements and does nothing
// where they are missing; without any of it, everything works but what is live, copied or on keys.
const one = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

// Times: the server says UTC. Here they are the reader's own, and ages go on.
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const zone = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

function age(span) {
  if (span < MINUTE) return `${Math.floor(Math.max(0, span) / SECOND)} s ago`;
  if (span < HOUR) return `${Math.floor(span / MINUTE)} min ago`;
  return span < DAY ? `${Math.floor(span / HOUR)} h ago` : `${Math.floor(span / DAY)} d ago`;
}

function localise(scope = document) {
  for (const it of all("time[datetime]", scope)) {
    const at = new Date(it.dateTime);
    const span = Date.now() - at;
    it.title ||= moment.format(at);
    if ("age" in it.dataset && span < 7 * DAY) it.textContent = age(span);
    else if ("clock" in it.dataset) it.textContent = zone.format(at);
  }
}
localise();
setInterval(localise, 15 * SECOND);
for (const it of all("[data-zone]")) it.textContent = zone.resolvedOptions().timeZone;

// The polite live region: one sentence in two seconds; of several, the last or how many.
const announcements = [];
let announced = 0;
function announce(text) {
  announcements.push(text);
  if (!announced) tellNext();
}
function tellNext() {
  const region = one("#announce");
  if (!announcements.length || !region) return void (announced = 0);
  const ends = announcements.splice(0);
  region.textContent = ends.length > 1 ? `${ends.length} tasks ended.` : ends[0];
  announced = setTimeout(tellNext, 2 * SECOND);
}

// Copying: what `data-copy` says, or the text of the element that `data-from` selects.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-from]");
  if (!button || button.dataset.words) return;
  button.dataset.words = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy || one(button.dataset.from).textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it and copy";
  }
  announce(button.textContent);
  setTimeout(() => {
    button.textContent = button.dataset.words;
    delete button.dataset.words;
  }, 1600);
});

// One box that ticks all of its name.
for (const it of all("[data-all]")) {
  const boxes = () => all(`input[name="${it.dataset.all}"]`);
  it.addEventListener("change", () => boxes().forEach((box) => (box.checked = it.checked)));
}

// After an act, and after a form that was not sent, what is said about it has the focus.
one("#done, #errors")?.focus();
