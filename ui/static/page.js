// What the browser does by itself, without a way to the server: theme, drawer, scrolling, copying, keys.
(() => {
  const root = document.documentElement;
  const isElsewhere = () => document.querySelector(".ops"); // a page without a chat
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
  const showWhere = (box) => root.classList.toggle("away-from-end", !isAtEnd(box) && !isGreeting());
  // A greeting is read from its start, on however small a screen.
  const isGreeting = () => document.querySelector(".welcome")?.checkVisibility();
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
    if (!box) return isElsewhere() || setTimeout(followGrowth, 50);
    new ResizeObserver(() => {
      if (sticks && !isGreeting()) box.scrollTop = box.scrollHeight;
      showWhere(box);
    }).observe(box.firstElementChild);
  };

  // Copying works on plain http too, where browsers have no clipboard API.
  const toClipboard = async (text) => {
    if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    if (!isCopied) throw new Error("The browser does not copy");
  };
  // What a screen reader says of something that is only seen to have happened.
  const spoken = Object.assign(document.createElement("div"), { className: "unseen", role: "status" });
  document.body.append(spoken);
  const say = (text) => {
    spoken.textContent = "";
    setTimeout(() => (spoken.textContent = text), 60); // the same words again are news again
  };
  const CONFIRM_MS = 1600;
  // A button with a label shows the words, and one with an icon another icon.
  const confirm = (button, note, name) => {
    say(note);
    if (!button || button.classList.contains(name)) return;
    const before = button.textContent;
    button.classList.add(name);
    if (before) button.textContent = note;
    setTimeout(() => {
      button.classList.remove(name);
      if (before) button.textContent = before;
    }, CONFIRM_MS);
  };
  const copyFrom = (button, text) =>
    toClipboard(text).then(
      () => confirm(button, button?.dataset.done || "Copied", "copied"),
      () => confirm(button, button?.dataset.failed || "Could not copy the text", "not-copied"),
    );
  const copy = (text, id) => copyFrom(byId(id), text);

  // Formulas: the source stands in the page as text; KaTeX, loaded with the first one, sets it as MathML.
  let katex;
  // KaTeX marks that a function is applied by U+2061, for which browsers leave no room: n log n would read nlogn.
  const setApart = (operator) => {
    if (operator.textContent !== "\u2061") return;
    const space = document.createElementNS("http://www.w3.org/1998/Math/MathML", "mspace");
    space.setAttribute("width", "0.17em");
    const isBracketed = operator.nextElementSibling?.matches("mo, mrow:has(> mo:first-child)");
    if (!isBracketed) operator.after(space.cloneNode());
    const name = operator.previousElementSibling;
    if (name?.previousElementSibling?.matches("mi, mn, msup, msub, mfrac")) name.before(space);
  };
  const setFormulas = async () => {
    const waiting = document.querySelectorAll(".math:not([data-set])");
    if (!waiting.length) return;
    katex ??= import("/assets/katex.js").then((module) => module.default, () => null);
    const typeset = await katex;
    for (const formula of waiting) {
      if (formula.dataset.set || !typeset) continue;
      formula.dataset.set = "1";
      formula.dir = "ltr"; // and no word of the text around it, whose direction its own words decide
      const displayMode = formula.classList.contains("math-block");
      const options = { output: "mathml", displayMode, trust: false, maxSize: 20, maxExpand: 200 };
      try {
        typeset.render(formula.textContent, formula, options);
        formula.querySelectorAll("mo").forEach(setApart);
      } catch {
        formula.classList.add("math-source");
      }
    }
  };
  // What scrolls can be reached by keys, and nothing else that would only be one more stop on the way.
  const SCROLLERS = ":is(.markdown pre, .markdown .table, .markdown .math-block, .question-file pre):not([data-watched])";
  const scrolling = new ResizeObserver((entries) => {
    for (const { target: box } of entries) {
      const isCut = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      isCut ? box.setAttribute("tabindex", "0") : box.removeAttribute("tabindex");
    }
  });
  const watchScrollers = () => {
    for (const box of document.querySelectorAll(SCROLLERS)) {
      box.dataset.watched = "";
      scrolling.observe(box);
    }
  };
  let isLooking = false;
  new MutationObserver(() => {
    if (isLooking) return;
    isLooking = true;
    requestAnimationFrame(() => ((isLooking = false), watchScrollers(), setFormulas()));
  }).observe(document.body, { childList: true, subtree: true });

  // An unsent draft survives a reload of its tab.
  const DRAFT = "chatllm-draft";
  const forgetDraft = () => sessionStorage.removeItem(DRAFT);
  document.addEventListener("input", (event) => {
    if (event.target.matches?.(".composer textarea")) sessionStorage.setItem(DRAFT, event.target.value);
  });
  const restoreDraft = () => {
    const draft = sessionStorage.getItem(DRAFT);
    const text = document.querySelector(".composer textarea");
    if (draft && !text) return isElsewhere() || setTimeout(restoreDraft, 50);
    if (!draft || text.value) return;
    text.value = draft;
    text.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // The session has ended. What was being written waits in this tab, unless its reader has signed out.
  const leave = (address, keepsDraft, unsent) => {
    try {
      if (!keepsDraft) forgetDraft();
      else if (unsent) sessionStorage.setItem(DRAFT, [unsent, sessionStorage.getItem(DRAFT)].filter(Boolean).join("\n\n"));
    } finally {
      location.replace(address); // with a draft that the browser has no room for, too
    }
  };

  const closeDrawer = () => root.classList.remove("drawer-open");
  const actions = {
    theme: toggleTheme,
    "to-end": toEnd,
    "drawer-open": () => root.classList.add("drawer-open"),
    "drawer-close": closeDrawer,
    "to-note": (button) => jump(button, "to-text"),
    "to-text": (button) => jump(button, "to-note"),
    "copy-text": (button) => copyFrom(button, button.dataset.text),
    "copy-code": (button) => copyFrom(button, button.closest(".code").querySelector("pre").textContent),
  };
  // A footnote's reference leads to the note, and the note back to the first reference, within the same answer.
  const jump = (button, act) => {
    const marks = [...button.closest(".markdown").querySelectorAll(`[data-act=${act}]`)];
    const mark = marks.find((one) => one.dataset.note === button.dataset.note);
    mark?.scrollIntoView({ block: "nearest" });
    mark?.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-act]");
    if (button) actions[button.dataset.act]?.(button);
    const link = event.target.closest?.(".markdown a[href]");
    if (link) {
      event.preventDefault();
      window.open(link.href, "_blank", "noopener,noreferrer");
    }
  });

  // The keys of an input method belong to it; Safari tells of the one that ends a word only by its code.
  const isComposing = (event) => event.isComposing || event.keyCode === 229;

  // Alt with a letter works everywhere, unless it writes a character: AltGr does, and Option on a Mac, where Control
  // goes with it. "/" and "?" work only where they are not being written.
  const isMac = /Macintosh|iPhone|iPad/.test(navigator.userAgent);
  const isShortcut = (event) =>
    event.altKey && event.ctrlKey === isMac && !event.metaKey && !event.getModifierState("AltGraph");
  // The letter counts, as on Dvorak's layout; where the keys write none of these letters, its place.
  const letterOf = (event) => (/^[a-z]$/i.test(event.key) ? event.key : event.code.replace("Key", "")).toLowerCase();
  const keys = {
    n: () => document.querySelector(".new-chat")?.click(),
    k: () => (root.classList.add("drawer-open"), document.querySelector(".search input")?.focus()),
    c: () => [...document.querySelectorAll(".answer .icon-copy")].pop()?.click(),
    v: () => document.querySelector(".icon-compare")?.click(),
    r: () => [...document.querySelectorAll(".answer .icon-again")].pop()?.click(),
  };
  document.addEventListener("keydown", (event) => {
    if (isComposing(event) || document.querySelector(".q-dialog, .q-menu")) return;
    const act = isShortcut(event) && keys[letterOf(event)];
    const isWriting = event.target.closest?.("input, textarea, [contenteditable]");
    if (act) act();
    else if (isWriting || event.altKey || event.ctrlKey || event.metaKey) return;
    else if (event.key === "?") document.querySelector(".icon-keys")?.click();
    else if (event.key === "/") document.querySelector(".composer textarea")?.focus();
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || isComposing(event) || document.querySelector(".q-dialog, .q-menu")) return;
    if (root.classList.contains("drawer-open")) return closeDrawer();
    document.querySelector("[data-act=stop]:not(.hidden)")?.click();
  });

  // Not from another field, in which something is being written; what is searched for has been found by then.
  const focusComposer = () => {
    if (document.activeElement.matches(":is(input, textarea):not(.search *)")) return;
    if (matchMedia("(hover: hover)").matches) document.querySelector(".composer textarea")?.focus();
  };
  const focusEditor = () => setTimeout(() => {
    const text = document.querySelector(".editor:not(.hidden) textarea");
    // A quick reader writes already, here or elsewhere; the composer has the focus by itself.
    if (!text || document.activeElement.matches(":is(input, textarea):not(.composer *)")) return;
    text.focus();
    text.setSelectionRange(text.value.length, text.value.length);
  }, 60);
  const visit = (path, title, push) => {
    // An address of another page that is not pushed is late: its reader has gone back or on meanwhile.
    const isHere = new URL(path, location).pathname === location.pathname;
    if (isHere) history.replaceState(history.state, "", path);
    else if (push) history.pushState(null, "", path);
    document.title = title;
  };
  window.addEventListener("popstate", () => emitEvent("chatllm_back", location.pathname + location.search));
  window.chatllm = { toEnd, copy, closeDrawer, focusComposer, focusEditor, forgetDraft, visit, leave };
  watchScrollers();
  if ("plain" in root.dataset) return void setFormulas();
  followGrowth();
  restoreDraft();
})();
