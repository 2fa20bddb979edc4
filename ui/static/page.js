// What the browser does by itself, without a way to the server: theme, drawer, scrolling, copying, keys.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  // Theme: the system's choice until the reader makes one; kept in this browser only.
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const applyTheme = () => {
    const theme = root.dataset.theme;
    root.toggleAttribute("data-dark", theme === "dark" || (theme !== "light" && systemIsDark.matches));
  };
  const toggleTheme = () => {
    const wanted = root.hasAttribute("data-dark") ? "light" : "dark";
    const isSystems = (wanted === "dark") === systemIsDark.matches;
    root.dataset.theme = isSystems ? "auto" : wanted;
    isSystems ? localStorage.removeItem("chatllm-theme") : localStorage.setItem("chatllm-theme", wanted);
    applyTheme();
  };
  systemIsDark.addEventListener("change", applyTheme);
  applyTheme();

  // Scrolling: stay at the end while the reader is there, and never pull the reader back.
  const NEAR_END_PX = 60;
  let sticks = true;
  let lastTop = 0;
  const distance = (box) => box.scrollHeight - box.scrollTop - box.clientHeight;
  const isAtEnd = (box) => distance(box) < NEAR_END_PX;
  const showWhere = (box) => root.classList.toggle("away-from-end", !isAtEnd(box));
  const toEnd = () => {
    sticks = true;
    const box = byId("scroll");
    if (box) box.scrollTop = box.scrollHeight;
  };
  document.addEventListener(
    "scroll",
    (event) => {
      const box = event.target;
      if (box.id !== "scroll") return;
      // Upwards is the reader, but for a text that has become shorter: that leaves the box at its very end.
      if (box.scrollTop < lastTop) sticks = sticks && distance(box) < 2;
      else if (isAtEnd(box)) sticks = true;
      lastTop = box.scrollTop;
      showWhere(box);
    },
    { capture: true, passive: true },
  );
  // The first pixels of a turning wheel must already count, or the next word pulls the reader back.
  document.addEventListener(
    "wheel",
    (event) => {
      const box = event.target.closest?.("#scroll");
      if (box && event.deltaY < 0 && box.scrollTop > 0) sticks = false;
    },
    { passive: true },
  );
  const followGrowth = () => {
    const box = byId("scroll");
    if (!box) return void setTimeout(followGrowth, 50);
    new ResizeObserver(() => {
      if (sticks) box.scrollTop = box.scrollHeight;
      showWhere(box);
    }).observe(box.firstElementChild);
  };

  // Copying works on plain http too, where browsers have no clipboard API.
  const copy = async (text) => {
    if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };
  const confirmCopy = (button, said) => {
    if (!said) return;
    const before = button.textContent;
    button.textContent = said;
    setTimeout(() => (button.textContent = before), 1400);
  };

  const closeDrawer = () => root.classList.remove("drawer-open");
  const actions = {
    theme: toggleTheme,
    "to-end": toEnd,
    "drawer-open": () => root.classList.add("drawer-open"),
    "drawer-close": closeDrawer,
    "copy-text": (button) => copy(button.dataset.text).then(() => confirmCopy(button, "Copied")),
    "copy-code": (button) =>
      copy(button.closest(".code").querySelector("pre").textContent).then(() => confirmCopy(button, "Copied")),
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-act]");
    if (button) actions[button.dataset.act]?.(button);
    const link = event.target.closest?.(".prose a[href]");
    if (link) {
      event.preventDefault();
      window.open(link.href, "_blank", "noopener,noreferrer");
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector(".q-dialog, .q-menu")) return;
    if (root.classList.contains("drawer-open")) return closeDrawer();
    document.querySelector("[data-act=stop]:not(.hidden)")?.click();
  });

  const focusComposer = () => {
    if (matchMedia("(hover: hover)").matches) document.querySelector(".composer textarea")?.focus();
  };
  const focusEditor = () => setTimeout(() => {
    const text = document.querySelector(".editor:not(.hidden) textarea");
    if (!text) return;
    text.focus();
    text.setSelectionRange(text.value.length, text.value.length);
  }, 60);
  const visit = (path, title, push) => {
    if (push && location.pathname !== path) history.pushState(null, "", path);
    document.title = title;
  };
  window.addEventListener("popstate", () => emitEvent("chatllm_back", location.pathname));
  window.chatllm = { toEnd, copy, closeDrawer, focusComposer, focusEditor, visit };
  followGrowth();
})();
