// /ops in the browser: what stands at the pointer, the reader's time zone, and whether anybody looks.
(() => {
  const made = (name) => {
    const element = document.createElement("div");
    element.className = name;
    element.hidden = true;
    element.setAttribute("aria-hidden", "true"); // the table below each chart says the same
    document.body.append(element);
    return element;
  };
  const line = made("chart-line");
  const tip = made("chart-tip");
  const hide = () => (line.hidden = tip.hidden = true);

  const show = (plot, x) => {
    const moments = JSON.parse(plot.dataset.moments || "[]");
    if (!moments.length) return hide();
    const box = plot.getBoundingClientRect();
    const at = Math.max(0, Math.min(moments.length - 1, Math.floor(((x - box.left) / box.width) * moments.length)));
    const left = box.left + (box.width * (at + 0.5)) / moments.length;
    tip.replaceChildren(
      ...moments[at].map((text, row) => Object.assign(document.createElement(row ? "div" : "b"), { textContent: text })),
    );
    line.hidden = tip.hidden = false;
    Object.assign(line.style, { left: `${left}px`, top: `${box.top}px`, height: `${box.height}px` });
    const beside = left + 12 + tip.offsetWidth > innerWidth ? left - 12 - tip.offsetWidth : left + 12;
    Object.assign(tip.style, { left: `${Math.max(4, beside)}px`, top: `${box.top}px` });
  };
  const point = (event) => {
    const plot = event.target.closest?.(".plot");
    plot ? show(plot, event.clientX) : hide();
  };
  document.addEventListener("pointermove", point, { passive: true });
  document.addEventListener("pointerdown", point, { passive: true });
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.documentElement.addEventListener("pointerleave", hide);

  const tell = () => {
    if (!window.did_handshake) return void setTimeout(tell, 100);
    emitEvent("chatllm_looks", [Intl.DateTimeFormat().resolvedOptions().timeZone, document.hidden]);
  };
  document.addEventListener("visibilitychange", tell);
  tell();
})();
