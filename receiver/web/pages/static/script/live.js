// Live: the stream names the tasks that changed. The page asks for the pieces that it shows, once a second at most and
// only while somebody looks at it, and puts each in the place of the old one. Nothing is ever inserted.
//
// `[data-live]` is the live part of a page.
// - `data-live="/cards"`: its `[data-ref]` are replaced by what that address gives for their refs. With `data-newest`,
//   tasks that are newer than that ref are counted in `#new`. `data-open` marks a task that may still change.
// - With `data-any` any change of a task may bring a row: that address gives all, and what is newer is counted.
// - `data-live="page"` and `data-refs`: when one of these refs changes the page itself is asked for, and its
//   `[data-part]` are replaced; those with `data-settled` stay.
// - With `data-batch` the page is about that batch: its `[data-part]` are asked for too, every five seconds at most.
// `data-say` on a piece is what is announced once it is new.
const live = one("[data-live]");
if (live && window.EventSource && window.BroadcastChannel) {
  const ENDED = ["completed", "failed", "lost", "cancelled"];
  const ASKED_MOST = 60;
  const own = live.dataset.refs?.split(" "); // else it is a list
  const newest = live.dataset.newest;
  const any = "any" in live.dataset;
  let title = document.title;
  const due = new Set(); // refs to ask for
  const fresh = new Set(); // cards that this page does not have
  let broken = false; // something may have changed that nobody told
  let behind = false; // so tasks may be missing that are newer than those shown
  let first = true;
  let ends = 0; // of tasks, while the tab is hidden
  let timer = 0;
  let parts = 0;
  let polling = 0;
  let out = false; // somebody has logged out

  const say = (text) => (one("#live-state").textContent = text);
  const shown = (ref) => one(`[data-ref="${CSS.escape(ref)}"]`, live);
  const retitle = () => (document.title = ends ? `(${ends}) ${title}` : title);

  // Puts `piece` where `old` is: what is open stays open, what has the focus has it again, and the shape stays.
  function replace(old, piece) {
    const inside = "a, button, summary";
    const focused = old.contains(document.activeElement) ? all(inside, old).indexOf(document.activeElement) : -1;
    const ratio = /\br\d+\b/;
    if (ratio.test(old.className)) piece.className = piece.className.replace(ratio, ratio.exec(old.className)[0]);
    const open = all("details", old).map((it) => it.open);
    all("details", piece).forEach((it, at) => (it.open = open[at] ?? it.open));
    localise(piece);
    if (piece.dataset.say && piece.dataset.say !== old.dataset.say) announce(piece.dataset.say);
    if (old.isEqualNode(piece)) return;
    if (piece.matches("ol, ul")) return replaceItems(old, piece);
    old.replaceWith(piece);
    if (focused >= 0) (all(inside, piece)[focused] ?? one(inside, piece))?.focus({ preventScroll: true });
  }

  // Of a list only the items that differ: what is selected or has the focus in the others stays.
  function replaceItems(old, list) {
    const items = [...list.children]; // those that are taken over leave `list`
    items.forEach((item, at) => {
      const before = old.children[at];
      if (!before) old.append(item);
      else if (!before.isEqualNode(item)) before.replaceWith(item);
    });
    while (old.children.length > items.length) old.lastElementChild.remove();
  }

  function takeCards(pieces) {
    for (const piece of all("[data-ref]", pieces)) {
      const old = shown(piece.dataset.ref);
      if (any ? +piece.dataset.ref > +newest : newest && !old) fresh.add(piece.dataset.ref);
      else if (old && !any) replace(old, piece);
    }
    const pill = one("#new");
    if (!pill || !fresh.size) return;
    pill.hidden = false;
    pill.href = location.pathname + location.search;
    pill.textContent = `${fresh.size} new`;
  }

  function takeParts(page) {
    title = page.title;
    retitle();
    for (const piece of all("[data-part]", page)) {
      const old = one(`[data-part="${piece.dataset.part}"]`);
      if (old && !("settled" in old.dataset)) replace(old, piece);
    }
  }

  // The document at an address; null if none came. The page to log in is none.
  async function get(address) {
    const answer = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
    out = Boolean(answer?.redirected) && new URL(answer.url).pathname === "/login";
    return answer?.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  }

  // Asks for what is due; whether an answer came.
  async function ask() {
    const since = behind && newest ? `&since=${newest}` : "";
    const refs = [...due].slice(0, ASKED_MOST);
    behind = false;
    refs.forEach((ref) => due.delete(ref));
    const asked = refs.map((ref) => `ref=${encodeURIComponent(ref)}`).join("&");
    const address = own ? location.pathname + location.search : live.dataset.live + (any ? "" : `?${asked}${since}`);
    const pieces = await get(address);
    if (pieces) {
      (own ? takeParts : takeCards)(pieces);
      return true;
    }
    refs.forEach((ref) => due.add(ref));
    behind ||= since !== "";
    return false;
  }

  function plan() {
    if (timer || document.hidden || !(due.size || behind)) return;
    timer = setTimeout(async () => {
      const answered = !document.hidden && (await ask());
      timer = 0;
      if (answered) plan();
      else setTimeout(plan, 30 * SECOND);
    }, SECOND);
  }

  function planParts() {
    if (parts || document.hidden) return;
    parts = setTimeout(async () => {
      parts = 0;
      const page = await get(location.pathname + location.search);
      if (page) takeParts(page);
    }, 5 * SECOND);
  }

  // All that may have changed while nobody told.
  function doubt(which = "[data-ref]") {
    for (const ref of any ? ["any"] : (own ?? all(which, live).map((it) => it.dataset.ref))) due.add(ref);
    behind = true;
  }
  function catchUp(which) {
    broken = document.hidden;
    if (broken) return;
    doubt(which);
    return ask();
  }

  async function poll() {
    if (document.hidden) return;
    const answered = await catchUp();
    if (!polling) return; // the stream is back since
    const why = out ? "You are logged out: reload to log in" : "Not live: reload to see what is new";
    say(answered ? "Not live: asking every 30 s" : why);
  }

  function onTask({ ref, state, batch }) {
    if (batch && batch === live.dataset.batch) planParts();
    const key = batch && !shown(ref) ? batch : ref;
    const matters = any ? newest : own ? own.includes(ref) : shown(key) || (newest && ref > newest);
    if (!matters) return;
    due.add(any ? "any" : key);
    if (document.hidden && ENDED.includes(state)) {
      ends += 1;
      retitle();
    }
    plan();
  }

  function onState(state) {
    if (state === "missed") {
      doubt();
      plan();
    } else if (state === "live") {
      clearInterval(polling);
      polling = 0;
      say("Live");
      if (broken) catchUp();
      else if (first && (own ? "open" in live.dataset : one("[data-open]", live))) catchUp("[data-open]");
      first = false;
    } else {
      broken = true;
      say("Not live: connecting again …");
      if (state === "down" && !polling) {
        polling = setInterval(poll, 30 * SECOND);
        poll();
      }
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    ends = 0;
    retitle();
    if (broken) catchUp();
    else plan();
  });
  followTasks(onTask, onState);
}
