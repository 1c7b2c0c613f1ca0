// Keys, never with a modifier and never while somebody types. `[data-step]` are the links of a list, `[data-pick]` the
// pictures by number, `[data-key]` what else has a key.
const PAGES = { g: "/", c: "/callbacks", n: "/notices", s: "/status" };
const TYPING = "input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [contenteditable]";
let wentAt = 0;

function step(by) {
  const links = all("[data-step]");
  const at = links.indexOf(document.activeElement);
  const seen = () => Math.max(0, links.findIndex((it) => it.getBoundingClientRect().bottom > 0));
  const next = at < 0 ? seen() : Math.min(links.length - 1, Math.max(0, at + by));
  links[next]?.focus();
  return links.length > 0;
}

function turn(by, target) {
  const snap = one("#snap");
  if (!snap || target.matches("input, video, audio")) return false;
  const marked = marks().findIndex((it) => it.hasAttribute("aria-current")); // where a slide that goes on leads
  showPicture(snap, (marked < 0 ? inView(snap) : marked) + by);
  return true;
}

function press(found) {
  found?.click();
  return Boolean(found);
}

function act(key, target) {
  if (key === "/") {
    const field = one("[type=search]");
    field?.focus();
    return Boolean(field);
  }
  if (key === "?") {
    one("#keys")?.togglePopover?.();
    return true;
  }
  if (key === "j" || key === "k") return step(key === "j" ? 1 : -1);
  if (key === "ArrowRight" || key === "ArrowLeft") return turn(key === "ArrowRight" ? 1 : -1, target);
  if (/^[0-9]$/.test(key)) return press(one(`[data-pick="${key}"]`));
  return /^[xu[\]]$/.test(key) && press(one(`[data-key="${key}"]`));
}

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (!(target instanceof Element) || target.matches(TYPING)) return;
  const page = Date.now() - wentAt < 1200 && PAGES[key];
  wentAt = key === "g" && !page ? Date.now() : 0;
  if (page) location.href = page;
  if (page || act(key, target)) event.preventDefault();
});
