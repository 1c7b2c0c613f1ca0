// Looking at pictures: `#snap` shows one a screen. The pick of the one in view is marked, and the ways to go on take its
// number along. While others wait for a pick, the boxes to pick with are the picks. The live part may replace all of it,
// so the listeners are the document's.
const marks = () => all("[data-pick]");
const inView = (snap) => Math.round(snap.scrollLeft / Math.max(1, snap.clientWidth));

function markPick(at) {
  const picks = marks();
  const pick = picks[at];
  if (!pick || pick.hasAttribute("aria-current")) return;
  picks.forEach((it) => it.removeAttribute("aria-current"));
  pick.setAttribute("aria-current", "true");
  for (const it of all("[data-no]")) it.textContent = pick.dataset.pick;
  for (const way of all(".tabs a[href]")) {
    way.search = way.search.replace(/([?&]image=)[0-9]+/, `$1${pick.dataset.pick}`);
  }
}

function showPicture(snap, at, behavior = "auto") {
  snap.scrollTo({ left: at * snap.clientWidth, behavior });
  markPick(at); // at once, for whoever is quicker than the pictures
}

document.addEventListener(
  "onscrollend" in window ? "scrollend" : "scroll",
  (event) => event.target.id === "snap" && markPick(inView(event.target)),
  true,
);
document.addEventListener("click", (event) => {
  const [pick, snap] = [event.target.closest("a[data-pick]"), one("#snap")];
  if (!pick || !snap || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.replaceState(null, "", pick.hash); // what is reloaded, or sent to somebody, shows this picture
  showPicture(snap, all("a[data-pick]").indexOf(pick));
});

document.addEventListener("change", ({ target }) => {
  if (!one("#snap") || !target.dataset.pick) return;
  history.replaceState(null, "", `#p${target.dataset.pick}`);
  showPicture(one("#snap"), marks().indexOf(target));
});

// The address may name a picture, by `#p2` or by `?image=2`.
const byHash = marks().findIndex((it) => `#p${it.dataset.pick}` === location.hash);
const chosen = byHash >= 0 ? byHash : marks().findIndex((it) => it.hasAttribute("aria-current"));
if (one("#snap") && chosen >= 0) showPicture(one("#snap"), chosen, "instant");
