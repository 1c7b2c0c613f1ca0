// The form to go on: the slider and the exact value move together, and the sentence below and the drawing follow. What
// is there at first comes from the server.
const going = one("#go");
if (going) {
  // What is sent leaves its key in the address, so that the form that Back leads to is the same one, and is sent once.
  going.addEventListener("submit", ({ submitter }) => {
    if (submitter?.name === "show" || one("#done[role=alert]")) return;
    const here = new URL(location);
    here.searchParams.set("key", one("[name=key]", going).value);
    history.replaceState(null, "", here);
  });
  const [slider, exact, part] = [one("[data-slider]", going), one("[data-exact]", going), one("#new-part", going)];
  const frame = one("#frame");
  const grows = (part || frame)?.dataset.draws === "grow";
  const put = (selector, box) => {
    for (const it of all(selector, frame)) {
      ["x", "y", "width", "height"].forEach((name, at) => it.setAttribute(name, box[at].toFixed(1)));
    }
  };
  const place = (scale) => {
    const { width, height } = frame.viewBox.baseVal;
    const [w, h] = [width / scale, height / scale];
    const [x, y] = [(width - w) / 2, (height - h) / 2];
    if (grows) return put("image, .inner", [x, y, w, h]);
    const way = one("[value=left]:checked, [value=right]:checked, [value=up]:checked", going)?.value;
    const sideways = way === "left" || way === "right";
    const corner = sideways ? [way === "left" ? width - w : 0, y] : [x, way === "up" ? height - h : 0];
    put("image, .inner", [...corner, w, h]);
    put(".ground, .edge", sideways ? [0, y, width, h] : [x, 0, w, height]);
  };
  slider?.addEventListener("input", () => (exact.value = slider.value));
  exact?.addEventListener("input", () => exact.validity.valid && exact.value && (slider.value = exact.value));
  going.addEventListener("input", () => {
    if (!part) return;
    const scale = Math.min(16, Math.max(1, +exact.value));
    const share = Math.round((1 - 1 / (grows ? scale * scale : scale)) * 100);
    part.textContent = `${share} % of the new picture is newly painted.`;
    if (frame) place(scale);
  });
  for (const it of all("[name=imageNo][data-large]")) {
    it.addEventListener("change", () => {
      one("image", frame)?.setAttribute("href", it.dataset.large);
      frame.setAttribute("aria-label", frame.getAttribute("aria-label").replace(/[0-9]+/, it.value));
      for (const to of all("[data-no]")) to.textContent = it.value;
      for (const way of all(".tabs a")) way.search = way.search.replace(/([?&]image=)[0-9]+/, `$1${it.value}`);
      const here = one(".tabs [aria-current]")?.href;
      if (here) history.replaceState(null, "", here); // so that reloading, and sending the address, shows this one
    });
  }
}

// Another model has another form. Whoever chooses with the keys passes several, and gets the form after the last.
const model = one("#model");
if (model) {
  let byKeys = false;
  const isOther = () => !model.selectedOptions[0].defaultSelected;
  const show = () => isOther() && going.requestSubmit(one("[name=show]"));
  model.addEventListener("keydown", () => (byKeys = true));
  model.addEventListener("pointerdown", () => (byKeys = false));
  model.addEventListener("change", () => byKeys || show());
  model.addEventListener("blur", show);
  if (location.hash === "#model") model.focus();
}
