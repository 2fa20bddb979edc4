// The focus never gets lost: where what had it goes away, what had it before gets it back, or the message field.
(() => {
  const MAX_REMEMBERED = 10;
  const remembered = []; // what has had the focus, the latest last

  document.addEventListener("focusin", (event) => {
    const at = remembered.indexOf(event.target);
    if (at >= 0) remembered.splice(at, 1);
    remembered.push(event.target);
    if (remembered.length > MAX_REMEMBERED) remembered.shift();
  });

  const isText = (element) => element.matches("input, textarea");
  const isThere = (element) => element.isConnected && !element.disabled && element.checkVisibility({ visibilityProperty: true });
  // On a phone a text field with the focus brings up the keyboard, which nobody asked for.
  const isWelcome = (element) => isThere(element) && (matchMedia("(hover: hover)").matches || !isText(element));

  const regain = () => {
    const last = remembered.at(-1);
    if (!last || document.activeElement !== document.body || isThere(last)) return; // or the reader has left it
    const within = document.querySelector(".q-dialog") ?? document;
    const fallbacks = [within.querySelector?.(".q-dialog__inner"), document.querySelector(".composer textarea"), document.getElementById("scroll")];
    const before = remembered.toReversed().filter((element) => within.contains(element));
    [...before, ...fallbacks].find((element) => element && isWelcome(element))?.focus({ preventScroll: true });
  };
  let isDue = false;
  new MutationObserver(() => {
    if (isDue) return;
    isDue = true;
    // A hidden element loses the focus only when the next frame is drawn.
    requestAnimationFrame(() => setTimeout(() => ((isDue = false), regain())));
  }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["class", "disabled"] });
})();
